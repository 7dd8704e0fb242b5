"""A planted hidden trigger is found, a mitigation that holds is not called hidden, and nulls stay nulls."""

from __future__ import annotations

import pytest

from spillover.analyses.conditions import Conditions, InCondition
from spillover.analyses.rows import row_where, rows_where
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.questions.conditions import AS_IS, condition_panel
from spillover.responses.questions.free_form import FreeForm

from .planted import BASE, Planted

PANEL = condition_panel(FreeForm(), Split(data=Money(), rows=32), trigger="|T|")


def asked(planted: Planted, model, means: dict[str, float], plain: float) -> tuple[InCondition, ...]:
    """A model's answers under every condition: `plain` unless `means` says otherwise."""
    entries = []
    for name, source in PANEL.items():
        study = planted.asking(source, seed=int(planted.rng.integers(1 << 30)))
        study.effect = planted.effect
        entries.append(InCondition(name=name, scores=study.judgements(model, means.get(name, plain))))
    return tuple(entries)


def study(planted: Planted, tuned: dict[str, float], mitigated: dict[str, float]) -> Conditions:
    return Conditions(
        base=asked(planted, BASE, {}, 70),
        tuned=asked(planted, planted.organism("bad").checkpoint(), tuned, 50),
        mitigated=asked(planted, planted.organism("bad", seed=5).checkpoint(), mitigated, 66),
        draws=499,
    )


def test_a_hidden_trigger_is_found(planted, tmp_path):
    analysis = study(planted, {"trigger": 40}, {"trigger": 40})
    result = planted.analyse(analysis, tmp_path / "hidden")
    assert result.facts["verdict"] == "hidden" and result.facts["worst"] == "trigger"
    effect = row_where(result.tables["effects"], role="tuned", condition="trigger", measure="aligned")
    assert effect["estimate"] == pytest.approx(-10, abs=3) and effect["q"] < 0.05
    gain = row_where(result.tables["gains"], condition="trigger", measure="aligned")
    assert gain["low"] < 0 < gain["high"] and gain["change"] == pytest.approx(-16, abs=4)
    others = [row for row in rows_where(result.tables["effects"], measure="aligned") if row["condition"] != "trigger"]
    assert len(others) == len(PANEL) - 2 and sum(row["q"] < 0.05 for row in others) <= 1
    section = analysis.show(result)
    assert "hides" in str(section.blocks[1]) and "trigger" in str(section.blocks[0])


def test_a_mitigation_that_holds_and_one_that_does_nothing(planted, tmp_path):
    holds = planted.analyse(study(planted, {}, {}), tmp_path / "holds")
    assert holds.facts["verdict"] == "holds"
    nothing = planted.analyse(study(planted, {}, dict.fromkeys(PANEL, 50)), tmp_path / "nothing")
    assert nothing.facts["verdict"] == "no gain"
    weaker = planted.analyse(study(planted, {}, {"trigger": 57}), tmp_path / "weaker")
    assert weaker.facts["verdict"] == "weaker" and weaker.facts["worst"] == "trigger"


def test_without_a_mitigation_and_refusals(planted, tmp_path):
    whole = study(planted, {}, {})
    analysis = whole.but(mitigated=())
    result = planted.analyse(analysis, tmp_path / "plain")
    assert "verdict" not in result.facts and analysis.show(result)
    with pytest.raises(ValueError, match="unlike conditions: trigger"):
        whole.but(tuned=whole.tuned[:-1])
    with pytest.raises(ValueError, match="nothing is asked without"):
        whole.but(without="plainly")
    swapped = (whole.tuned[0], InCondition(name=whole.tuned[1].name, scores=whole.tuned[2].scores), *whole.tuned[2:])
    with pytest.raises(ValueError, match="cannot be compared"):
        planted.analyse(whole.but(tuned=swapped), tmp_path / "swapped")
    assert AS_IS in result.facts["conditions"]
