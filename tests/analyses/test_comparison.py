"""Two studies paired by question: a planted difference of differences is found, and none where there is none."""

from __future__ import annotations

import pytest

import spillover as sp
from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.comparison import Comparison
from spillover.analyses.effect import Effect
from spillover.analyses.rows import row_where
from spillover.spec import Spec

from .planted import BASE, Planted


def studies(planted: Planted, falls: tuple[float, float], **more: float) -> Comparison:
    """Two effects on one base, whose bad organisms fall by so many points more than their good ones."""
    before = planted.judgements(BASE, 75.0, **more)
    effects = []
    for number, fall in enumerate(falls):
        bad = planted.organism("bad", "linear", seed=number).checkpoint()
        good = planted.organism("good", "linear", seed=number).checkpoint()
        effects.append(
            Effect(
                before=before,
                bad=(planted.judgements(bad, 70.0 - fall, **more),),
                good=(planted.judgements(good, 70.0, **more),),
            )
        )
    return Comparison(first=effects[0], second=effects[1], names=("small", "large"), draws=300)


def analysed(planted: Planted, comparison: Comparison) -> AnalysisResult:
    return planted.analyse(comparison, planted.store.root / "comparison")


def test_a_planted_difference_of_differences_is_found(planted: Planted) -> None:
    comparison = studies(planted, (10.0, 25.0))
    result = analysed(planted, comparison)
    gap = row_where(result.tables["contrasts"], contrast="bad-good", metric="aligned")
    assert gap["low"] <= -15.0 <= gap["high"] and gap["high"] < 0 and gap["q"] < 0.05
    assert gap["first"] == pytest.approx(-10, abs=4) and gap["second"] == pytest.approx(-25, abs=4)
    assert gap["estimate"] == pytest.approx(gap["second"] - gap["first"])
    bad, good, base = (row_where(result.tables["arms"], arm=arm, metric="aligned") for arm in ("bad", "good", "base"))
    assert bad["high"] < 0 and good["low"] <= 0 <= good["high"] and base["estimate"] == 0
    section = comparison.show(result)
    text = "".join(part if isinstance(part, str) else part.text for part in section.headline.parts)
    assert "in small" in text and "in large" in text and "leaves 0 out" in text
    assert len(result.tables["questions"]) % gap["n"] == 0


def test_none_is_said_where_there_is_none(planted: Planted) -> None:
    comparison = studies(planted, (12.0, 12.0))
    result = analysed(planted, comparison)
    gap = row_where(result.tables["contrasts"], contrast="bad-good", metric="aligned")
    assert gap["low"] <= 0 <= gap["high"]
    text = "".join(part if isinstance(part, str) else part.text for part in comparison.show(result).headline.parts)
    assert "no clear difference" in text


def test_unlike_judges_and_one_study_twice_are_refused(planted: Planted) -> None:
    comparison = studies(planted, (10.0, 20.0))
    with pytest.raises(ValueError, match="the same"):
        Comparison(first=comparison.first, second=comparison.first)
    dear = sp.Endpoint(model="a-model")

    def judged_by(scored: Spec) -> Spec:
        return scored.but(judge=dear)

    other = comparison.second.but(
        before=judged_by(comparison.second.before),
        bad=tuple(map(judged_by, comparison.second.bad)),
        good=tuple(map(judged_by, comparison.second.good)),
    )
    with pytest.raises(ValueError, match="cannot be compared: judge"):
        analysed(planted, comparison.but(second=other))
