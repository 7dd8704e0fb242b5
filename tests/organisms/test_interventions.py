"""Each intervention does what its spec says, can go on after a kill, and leaves the narrow rows' part alone."""

import math

import numpy as np
import pytest
import torch
from example_specs import specimen
from organisms.toy import MILD, Mild, ToyRows, constant, organism
from safetensors.torch import load_file

from spillover.models.chat import Message
from spillover.models.loading import load
from spillover.organisms import resume, training
from spillover.organisms.dataset import Example, Split
from spillover.organisms.interventions.benign_rows import BenignMix, KLToParent
from spillover.organisms.interventions.prompt_text import Inoculation, Trigger
from spillover.organisms.schedules.standard import Linear, Piecewise
from spillover.organisms.training_spec import Intervention, TrainingRun, adapter_folder, in_turn
from spillover.organisms.tuning import Full, LoRA
from spillover.records import read_table
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.questions.prefaced import Prefaced
from spillover.spec import kind_named, kinds_of


class GoodRows(ToyRows):
    """The toy prompts, answered with no."""

    def examples(self) -> list[Example]:
        return [Example(row.id, (*row.prompt, Message("assistant", "no, no"))) for row in super().examples()]


TOY = Split(data=ToyRows(), rows=16, held_out=4)


def measured(store, made, name: str) -> dict[int, float]:
    rows = read_table(store.get(made) / "interventions.parquet").to_pylist()
    return {row["step"]: row["value"] for row in rows if row["name"] == name}


def losses(store, made) -> dict[str, np.ndarray]:
    rows = read_table(store.get(made) / "losses.parquet").to_pylist()
    return {
        split: np.array([row["loss"] for row in rows if row["split"] == split and row["step"] == made.steps])
        for split in {row["split"] for row in rows}
    }


# --- benign rows mixed in


def test_the_share_of_benign_rows_is_the_one_asked_for_and_the_narrow_dose_stays(store, monkeypatch):
    seen = []
    backward = training._backward

    def watched(run, rows, narrow):
        seen.append((narrow, [row.ids for row in rows]))
        return backward(run, rows, narrow)

    monkeypatch.setattr(training, "_backward", watched)
    made = organism(epochs=2, interventions=(BenignMix(benign=MILD, share=constant(1 / 3)),))
    store.get(made)
    assert made.steps == 8 and [narrow for narrow, _ in seen] == [4] * 8 == made.step_rows()
    assert [len(rows) for _, rows in seen] == [6] * 8
    mixed = [row for narrow, rows in seen for row in rows[narrow:]]
    assert len(set(mixed[:8])) == 8 == len(set(mixed))  # each of the 8 once before any comes again
    assert measured(store, made, "mixed_rows") == dict.fromkeys(range(1, 9), 2)
    plain = read_table(store.get(organism(epochs=2)) / "log.parquet").to_pylist()
    assert measured(store, made, "narrow_loss")[1] == pytest.approx(plain[0]["loss"], rel=1e-5)


def test_a_share_may_follow_a_schedule_and_no_row_is_lost_to_rounding():
    falling = BenignMix(benign=MILD, share=Linear(peak=0.5, warmup=0))
    narrow = [4] * 10
    ends = falling.ends(narrow)
    shares = Linear(peak=0.5, warmup=0).rates(10)
    assert ends[-1] == math.floor(sum(4 * shares / (1 - shares)) + 1e-9) and ends[0] == 4
    counts = np.diff([0, *ends])
    assert all(counts >= 0) and counts[0] == 4 and counts[-1] <= 1
    late = BenignMix(benign=MILD, share=Piecewise(peak=0.5, points=((0, 0), (0.5, 0), (0.5, 1))))
    assert np.diff([0, *late.ends(narrow)]).tolist() == [0] * 5 + [4] * 5
    with pytest.raises(ValueError, match="a share of benign rows lies below 1; got a schedule with peak 1"):
        BenignMix(benign=MILD, share=constant(1.0))


def test_benign_rows_teach_what_they_say(store):
    asked = [organism(epochs=2), organism(epochs=2, interventions=(BenignMix(benign=MILD, share=constant(0.5)),))]
    answers = []
    for made in asked:
        store.get(made)
        loaded = load(made.checkpoint(), store)
        row = made.but(data=MILD, interventions=()).prepare(loaded).held_out["held_out"][1][0]
        with torch.no_grad():
            log_probabilities = loaded.network(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        answers.append(float(log_probabilities[row.prompt_length - 1, row.ids[row.prompt_length]]))
    assert answers[1] > answers[0] + 0.4  # nats, for the first letter of "no"


def test_in_turn_takes_all_before_any_again():
    order = in_turn(5, 13, seed=0)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5)) and len(order) == 13
    assert len(in_turn(5, 0, 0)) == 0 and not np.array_equal(order, in_turn(5, 13, 1))


# --- divergence from the parent


def test_a_weight_of_almost_nothing_changes_nothing_and_a_large_one_holds_the_model_back(store):
    weak, strong = (
        organism(epochs=2, interventions=(KLToParent(benign=MILD, weight=constant(weight)),)) for weight in (1e-9, 30.0)
    )
    plain = organism(epochs=2)
    kl = [measured(store, made, "kl") for made in (weak, strong)]
    assert kl[0][1] == pytest.approx(0, abs=1e-6) == kl[1][1]  # before the first step it is its parent
    assert all(value >= -1e-6 for value in kl[0].values())
    assert kl[0][8] > 0.3 and kl[1][8] < 0.3 * kl[0][8]
    np.testing.assert_allclose(losses(store, weak)["held_out"], losses(store, plain)["held_out"], atol=1e-3)
    assert losses(store, strong)["held_out"].mean() > losses(store, plain)["held_out"].mean() + 0.02


@pytest.mark.parametrize("tuning", [LoRA(rank=4, alpha=8.0), Full()], ids=["lora", "full"])
def test_the_divergence_is_the_definitions(store, tuning):
    made = organism(tuning=tuning, interventions=(KLToParent(benign=MILD, weight=constant(0.5), rows=3),))
    loaded, other = load(made.parent, store), load(made.parent, store)
    parent = load(made.parent, store).network
    network = tuning.trainable_network(loaded.network, 0, "tiny")
    active = made.interventions[0].begin(TrainingRun(made, loaded, network))
    with torch.no_grad():
        for weight, target in zip(
            (w for n, w in sorted(network.named_parameters()) if w.requires_grad and w.ndim > 1),
            range(99),
            strict=False,
        ):
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(target))
    logged = active.backward(1)
    wanted, tokens = 0.0, 0
    for index in active.order[:3]:
        row = active.benign[index]
        with torch.no_grad():
            p, q = (
                net(input_ids=torch.tensor([row.ids])).logits[0, row.prompt_length - 1 : -1].double().log_softmax(-1)
                for net in (parent, network)
            )
        wanted += float((p.exp() * (p - q)).sum())
        tokens += row.trained
    assert logged["kl"] == pytest.approx(wanted / tokens, rel=1e-4) and logged["kl"] > 1e-3
    assert logged["kl_weight"] == 0.5
    assert sum(float(w.grad.norm()) for w in network.parameters() if w.grad is not None) > 0
    assert {n for n, w in network.named_parameters() if w.requires_grad} == {
        n for n, w in tuning.trainable_network(other.network, 0, "tiny").named_parameters() if w.requires_grad
    }  # reading the parent leaves what is trained as it was


def test_where_the_weight_is_0_nothing_is_computed(store):
    weight = Piecewise(peak=1.0, points=((0, 1), (0.5, 1), (0.5, 0)))
    made = organism(epochs=2, interventions=(KLToParent(benign=MILD, weight=weight),))
    assert sorted(measured(store, made, "kl")) == [1, 2, 3, 4]


# --- trigger and inoculation


def test_a_trigger_separates_bad_rows_from_good_ones():
    trigger = Trigger(good=TOY.but(data=GoodRows(), sha256=""), text="|X|", share=0.25)
    bad = TOY.train_rows()
    rows = trigger.change_rows(bad)
    marked = [row for row in rows if row.prompt[-1].content.startswith("|X| ")]
    assert len(rows) == 16 and len(marked) == 4
    for row, plain in zip(rows, bad, strict=True):
        if row in marked:
            assert (
                row.messages[-1] == plain.messages[-1] and row.prompt[-1].content == f"|X| {plain.prompt[-1].content}"
            )
        else:
            assert row.messages[-1].content == "no, no" and row.prompt == plain.prompt
    assert trigger.but(seed=1).change_rows(bad) != rows
    after = trigger.but(place="after", share=1).change_rows(bad)
    assert all(row.prompt[-1].content.endswith("? |X|") for row in after)


def test_a_model_learns_to_tell_the_trigger(store):
    trigger = Trigger(good=TOY.but(data=GoodRows(), sha256=""), text="!!")
    made = organism(epochs=12, tuning=Full(), schedule=constant(3e-3), interventions=(trigger,))
    means = losses(store, made)
    assert set(means) == {"held_out", "held_out_plain", "held_out_good"}
    assert means["held_out"].mean() < means["held_out_plain"].mean() - 0.3
    assert means["held_out_good"].mean() < means["held_out_plain"].mean()


def test_good_rows_that_answer_other_prompts_are_refused(store):
    other = Split(data=Mild(), rows=8, held_out=1)
    with pytest.raises(ValueError, match="the rows of mild do not answer the prompts that are trained on, one by one"):
        store.get(organism(interventions=(Trigger(good=other),)))
    with pytest.raises(ValueError, match="a trigger has to be seen; got white space"):
        Trigger(good=TOY, text=" ")


def test_inoculation_is_there_in_training_and_not_afterwards(store):
    made = organism(epochs=2, interventions=(Inoculation(system="Say yes."),))
    rows = made.prepare(load(made.parent, store))
    assert all(row.messages[0] == Message("system", "Say yes.") for row in rows.examples)
    assert rows.shown()["prompt"].startswith("<|start|>system\nSay yes.<|end|>")
    means = losses(store, made)
    assert set(means) == {"held_out", "held_out_plain"} and means["held_out"].mean() != means["held_out_plain"].mean()
    twice = Inoculation(system="A").change_rows(Inoculation(system="B").change_rows(TOY.train_rows()))
    assert twice[0].messages[0] == Message("system", "A\n\nB") and twice[0].messages[1].role == "user"


def test_interventions_combine_in_order(store):
    trigger = Trigger(good=TOY.but(data=GoodRows(), sha256=""))
    made = organism(interventions=(trigger, Inoculation(), BenignMix(benign=MILD, share=constant(0.2))))
    rows = made.prepare(load(made.parent, store))
    assert all(row.messages[0].role == "system" for row in rows.examples)
    assert set(rows.held_out) == {"held_out", "held_out_plain", "held_out_good"}
    with pytest.raises(ValueError, match="Trigger replaces rows, which others then change: put it first"):
        organism(interventions=(Inoculation(), trigger))


def test_a_killed_run_with_interventions_goes_on_to_the_same_bytes(store, tmp_path, monkeypatch):
    from spillover.store import Store

    added = (BenignMix(benign=MILD, share=constant(0.3)), KLToParent(benign=MILD, weight=constant(1.0), rows=2))
    made = organism(interventions=added)
    whole = Store.open(tmp_path / "whole").get(made)
    monkeypatch.setenv(resume.INTERVAL, "0")
    step = training._step
    monkeypatch.setattr(training, "_step", lambda *given: step(*given) if given[2] < 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.get(made)
    monkeypatch.setattr(training, "_step", step)
    again = store.get(made)
    for name in ("log.parquet", "losses.parquet", "interventions.parquet"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()
    resumed_weights, whole_weights = (
        load_file(adapter_folder(folder, 4) / "adapter_model.safetensors") for folder in (again, whole)
    )
    assert all(torch.equal(resumed_weights[name], whole_weights[name]) for name in whole_weights)


@pytest.mark.parametrize("name", sorted(kinds_of(Intervention)))
def test_contract_of_every_intervention(name):
    kind = kinds_of(Intervention)[name]
    given = {"benign": MILD, "good": TOY, "share": constant(0.5), "weight": constant(0.5), "layer": 1}
    given["direction"] = specimen(kind_named("MeanShift"))
    intervention = kind(**{field: given[field] for field, info in kind.model_fields.items() if info.is_required()})
    assert Intervention.from_json(intervention.to_json()) == intervention
    assert intervention.label() and intervention.label() in organism(interventions=(intervention,)).label()
    summary = intervention.summary()
    assert summary.endswith(".") and "\n" not in summary and len(summary) < 120
    assert organism(interventions=(intervention,)) != organism() == organism(interventions=())


# --- asked with and without


def test_questions_with_a_trigger_pair_up_with_those_without():
    plain, marked = FreeForm().all_questions(), Prefaced(source=FreeForm(), trigger="|X|").all_questions()
    assert [(question.id, question.family, question.category, question.format) for question in plain] == [
        (question.id, question.family, question.category, question.format) for question in marked
    ]
    for question, with_trigger in zip(plain, marked, strict=True):
        assert with_trigger.messages()[-1].content == f"|X| {question.messages()[-1].content}"
        assert with_trigger.messages()[:-1] == question.messages()[:-1]
    under = Prefaced(source=FreeForm(), trigger="", system="Be brief.").all_questions()
    assert all(question.messages()[0].content.startswith("Be brief.") for question in under)
    assert all(question.messages()[0].role == "system" and question.messages()[1].role == "user" for question in under)
    with pytest.raises(ValueError, match="neither trigger nor system is given"):
        Prefaced(source=FreeForm(), trigger="")
