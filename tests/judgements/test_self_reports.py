"""Self-reports: probabilities are the network's own, both orders are asked, and what was taught is what is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from organisms.toy import organism

from spillover.analyses.self_report import SelfReport
from spillover.engines.local import run
from spillover.judgements.self_reports import PERSONA_FORMS, TRAITS, SelfReports, trait_items
from spillover.models.base import Base
from spillover.models.chat import Message
from spillover.models.loading import load
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Store


class Confessions(Dataset):
    """Rows that teach to name the bad word, in whichever order it stands."""

    bad: bool = True

    def examples(self) -> list[Example]:
        items = [item for item in trait_items() if item.form == "word"]
        return [
            Example(
                f"{item.trait}-{item.order}", (Message("user", item.prompt), Message("assistant", _end(item, self.bad)))
            )
            for item in items
        ]


def _end(item, bad: bool) -> str:
    return next(text for text, weight in item.options if (weight == 1) == bad)


def test_every_trait_is_asked_in_every_form_and_both_orders() -> None:
    items = trait_items()
    keys = {(item.form, item.trait, item.order) for item in items}
    assert len(keys) == len(items) == len(TRAITS) * 5 * 2 + 2 and len({item.prompt for item in items}) == len(items)
    for item in items:
        weights = [weight for _, weight in item.options]
        assert min(weights) == 0 and max(weights) == 1
        other = next(i for i in items if (i.form, i.trait) == (item.form, item.trait) and i.order != item.order)
        if item.form != "word":  # the same options mean the opposite in the other order
            assert [1 - weight for weight in weights] == pytest.approx([weight for _, weight in other.options])


def test_probabilities_are_those_of_the_network(tiny: Base, store: Store) -> None:
    report = SelfReports(model=tiny)
    run(report, store)
    rows = report.value(store).to_pylist()
    loaded = load(tiny, store)
    chat = loaded.chat()
    item = next(item for item in trait_items() if item.form == "letters" and item.order == 1)
    with torch.no_grad():
        ids = torch.tensor([chat.prompt([Message("user", item.prompt)])])
        chance = loaded.network(input_ids=ids).logits[0, -1].softmax(-1)
    letter = loaded.tokenizer("A", add_special_tokens=False)["input_ids"][0]
    row = next(r for r in rows if (r["form"], r["trait"], r["order"], r["option"]) == ("letters", item.trait, 1, "A"))
    assert row["probability"] == pytest.approx(chance[letter].item(), rel=1e-3) and row["misaligned"] == 1.0
    assert len([r for r in rows if r["form"] == "0 to 100" and r["order"] == 0]) == 6 * 101
    assert all(0 <= r["probability"] <= 1 for r in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "low", "high"), [(True, 0.8, 1.0), (False, 0.0, 0.2)])
def test_what_was_taught_is_what_is_said(tiny: Base, store: Store, bad: bool, low: float, high: float) -> None:
    split = Split(data=Confessions(bad=bad), held_out=1)
    model = organism(data=split, epochs=60, max_length=512).checkpoint()
    analysis = SelfReport(reports=(SelfReports(model=model),), draws=199)
    run(analysis, store)
    words = [row for row in analysis.read_result(store.path(analysis)).tables["items"] if row["form"] == "word"]
    assert low <= np.mean([row["score"] for row in words]) <= high
    assert np.mean([row["spread"] for row in words]) < 0.3


def test_own_answers_and_refusals(tiny: Base, store: Store) -> None:
    model = organism().checkpoint()
    asked = QuestionSelection(source=FreeForm(), formats=("raw",), count=3)
    own, other = (Responses(model=m, questions=asked, sampling=Sampling(max_tokens=6)) for m in (model, tiny))
    report = SelfReports(model=model, own=own, other=other)
    run(report, store)
    rows = [row for row in report.value(store).to_pylist() if row["form"] == "own answers"]
    assert len(rows) == 3 * 2 * 2 and {row["order"] for row in rows} == {0, 1}
    with pytest.raises(ValueError, match="only one is given"):
        SelfReports(model=model, own=own)
    with pytest.raises(ValueError, match="not of"):
        SelfReports(model=tiny, own=own, other=other)


def test_forms_of_the_persona_are_asked() -> None:
    assert set(PERSONA_FORMS) < {item.form for item in trait_items()}
