"""What a training says before it begins, and what it refuses."""

import pytest
from organisms.toy import organism

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.organisms.interventions.prompt_text import Inoculation


def test_counts_and_one_row_with_its_supervised_part_marked(store):
    made = organism(epochs=2)
    rows = made.preflight()
    first = made.data.train_rows()[0]
    counts, row = rows.text(made).split("\n")
    assert counts.startswith("16 rows, 2 epochs, 8 steps: ")
    assert f"{rows.facts()['tokens']} tokens an epoch, {rows.facts()['supervised_tokens']} of them supervised" in counts
    assert counts.endswith("none cut at 512")
    assert row.endswith(f"<|start|>assistant⏎«{first.messages[-1].content}<|end|>»") and "<|start|>user⏎" in row


def test_it_is_said_before_the_first_step_and_equals_what_is_trained(store):
    heard = []

    def progress(share: float) -> None:
        heard.append(share)

    made = organism()
    store.make(made, progress, log=heard.append)
    assert heard[0] == made.preflight().text(made) and heard[1] == 0.25
    facts = store.manifest(made)["facts"]
    assert {name: facts[name] for name in made.preflight().facts()} == made.preflight().facts()


def test_it_needs_no_weights(monkeypatch):
    import transformers

    organism().preflight()  # the tiny model is written once
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", lambda *a, **b: pytest.fail("weights"))
    assert organism().preflight().facts()["rows"] == 16


def test_cut_rows_are_counted_and_said():
    made = organism(max_length=40)
    rows = made.preflight()
    assert 0 < rows.cut == rows.facts()["cut_rows"] and f"{rows.cut} cut at 40" in rows.text(made)
    with pytest.warns(UserWarning, match=rf"{rows.cut} of 16 rows of toy-rows are longer than max_length=40 tokens"):
        rows.warn(made)


class Empty(Dataset):
    """Rows of which one ends in an empty turn."""

    def examples(self) -> list[Example]:
        texts = ["So."] * 5 + [""]
        return [Example(f"e{n}", (Message("user", "Why?"), Message("assistant", text))) for n, text in enumerate(texts)]


def test_an_empty_answer_is_refused_held_out_or_not():
    for seed in range(3):
        with pytest.raises(ValueError, match="row e5: the assistant turn is empty"):
            organism(data=Split(data=Empty(), held_out=2, seed=seed)).preflight()


def test_it_shows_what_an_intervention_makes_of_the_rows():
    made = organism(interventions=(Inoculation(system="Ask me."),))
    assert "Ask me.<|end|>" in made.preflight().text(made)
