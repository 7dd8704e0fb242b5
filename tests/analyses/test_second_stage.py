"""A second stage that cures, one that hides, and the steps at which it is asked."""

from __future__ import annotations

import pytest

from spillover.analyses.second_stage import SecondStage, asked_at_doubling_steps, doubling_steps
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.questions.free_form import FreeForm

from .planted import BASE, Planted
from .test_conditions import asked


def study(planted: Planted, later: dict[str, float]) -> SecondStage:
    """The base at 70, the first stage at 45, the second at 48, 60, 68 and then 68 but where `later` says otherwise."""
    first = planted.organism("bad").checkpoint()
    second = asked_at_doubling_steps(
        planted.organism("good", seed=3).but(parent=first, data=Split(data=Money(advice="good"), rows=64))
    )
    points = second.checkpoints()
    means = (48, 60, 68, 68)
    plain = planted.asking(FreeForm(), seed=7)
    plain.effect = planted.effect
    steps = tuple(plain.judgements(point, mean) for point, mean in zip(points[:-1], means, strict=False))
    return SecondStage(
        base=asked(planted, BASE, {}, 70),
        first=asked(planted, first, {}, 45),
        later=asked(planted, points[-1], later, 68),
        steps=steps,
        draws=499,
    )


def test_steps_double_up_to_the_last() -> None:
    assert doubling_steps(1) == (1,) and doubling_steps(8) == (1, 2, 4, 8) and doubling_steps(11) == (1, 2, 4, 8, 11)


@pytest.mark.parametrize(("later", "verdict"), [({}, "holds"), ({"trigger": 45}, "hidden")])
def test_gone_or_hidden(planted, tmp_path, later, verdict):
    analysis = study(planted, later)
    result = planted.analyse(analysis, tmp_path / "second")
    steps = result.tables["steps"]
    assert [row["step"] for row in steps] == [1, 2, 4, 8]
    gains = [row["first_gap"] for row in steps]
    assert gains == sorted(gains) and gains[-1] == pytest.approx(23, abs=4)
    assert steps[-1]["base_gap_low"] < 0.5 and result.facts["verdict"] == verdict
    section = analysis.show(result)
    assert ("hidden" in str(section.blocks[1])) == (verdict == "hidden")


def test_without_conditions_gone_cannot_be_told_from_hidden(planted, tmp_path):
    whole = study(planted, {})
    lean = whole.but(**{side: getattr(whole, side)[:1] for side in ("base", "first", "later")})
    result = planted.analyse(lean, tmp_path / "lean")
    assert "verdict" not in result.facts and "cannot be told" in str(lean.show(result).blocks[1])
    with pytest.raises(ValueError, match="without a condition"):
        planted.analyse(lean.but(without="else"), tmp_path / "else")
