"""Scores of unlike judges are refused with both named, or let through on purpose and then said on the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spillover.analyses.analysis import Analysis
from spillover.analyses.blocks import Paragraph
from spillover.analyses.effect import Effect
from spillover.analyses.priors import Priors
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.judges.local_model.judge import LocalModel
from spillover.judgements.rubrics.built_in import BuiltInRubrics

from .planted import BASE, Planted

OTHER = Embedded(weights="1" * 64)
Made = Callable[[Judgements, Judgements], Analysis]
every_comparison = pytest.mark.parametrize(
    "comparison",
    [
        lambda before, after, **allow: Effect(before=before, bad=(after,), draws=199, **allow),
        lambda before, after, **allow: Priors(before=before, after=(after,), draws=199, **allow),
    ],
    ids=["Effect", "Priors"],
)


def mixed(planted: Planted, judge: object) -> tuple[Judgements, Judgements]:
    before, after = planted.judgements(BASE, 60), planted.judgements(planted.organism().checkpoint(), 45)
    other = after.but(judge=judge)
    planted.scores[other.fingerprint] = planted.scores[after.fingerprint]
    return before, other


@every_comparison
def test_unlike_judges_are_refused_and_both_are_named(planted: Planted, tmp_path: Path, comparison: Made) -> None:
    before, after = mixed(planted, OTHER)
    with pytest.raises(ValueError, match="cannot be compared: judge") as error:
        planted.analyse(comparison(before, after), tmp_path)
    assert before.judge.name in str(error.value) and OTHER.name in str(error.value)
    assert "allow_unlike_judges=True" in str(error.value)


def test_unlike_rubrics_are_unlike_judges(planted: Planted, tmp_path: Path) -> None:
    first = LocalModel(model=BASE, rubrics=BuiltInRubrics(sha256="1" * 64))
    second = first.but(rubrics=BuiltInRubrics(sha256="2" * 64))
    before, after = mixed(planted, second)
    with pytest.raises(ValueError, match=r"spillover/1\.11111111 .*spillover/1\.22222222 "):
        planted.analyse(Effect(before=before.but(judge=first), bad=(after,), draws=199), tmp_path)


@every_comparison
def test_they_pass_on_purpose_and_the_page_says_so(planted: Planted, tmp_path: Path, comparison: Made) -> None:
    before, after = mixed(planted, OTHER)
    analysis = comparison(before, after, allow_unlike_judges=True)  # type: ignore[call-arg]
    section = analysis.section(planted.analyse(analysis, tmp_path))
    (warning,) = [
        block for block in section.blocks if isinstance(block, Paragraph) and "Unlike judges" in str(block.parts[0])
    ]
    assert before.judge.name in str(warning.parts) and OTHER.name in str(warning.parts)
    alike = comparison(before, planted.judgements(planted.organism().checkpoint(), 45), allow_unlike_judges=True)  # type: ignore[call-arg]
    plain = alike.section(planted.analyse(alike, tmp_path / "alike"))
    assert "Unlike judges" not in str(plain.blocks)  # nothing to warn of


def test_what_is_not_the_judge_is_refused_all_the_same(planted: Planted, tmp_path: Path) -> None:
    before, after = mixed(planted, OTHER)
    asked = after.responses.but(sampling=after.responses.sampling.but(temperature=0.5))
    analysis = Effect(before=before, bad=(after.but(responses=asked),), draws=199, allow_unlike_judges=True)
    with pytest.raises(ValueError, match="cannot be compared: sampling"):
        planted.analyse(analysis, tmp_path)
    unlike = after.but(judge=LocalModel(model=BASE, rubrics=BuiltInRubrics(scored=("aligned",))))
    with pytest.raises(ValueError, match=r"scores aligned, harmless, coherent, .* aligned"):
        planted.analyse(Effect(before=before, bad=(unlike,), draws=199, allow_unlike_judges=True), tmp_path)


def test_letting_unlike_judges_through_is_part_of_what_an_analysis_is(planted: Planted) -> None:
    before, after = mixed(planted, OTHER)
    plain = Effect(before=before, bad=(after,))
    assert plain.but(allow_unlike_judges=False).fingerprint == plain.fingerprint
    assert plain.but(allow_unlike_judges=True).fingerprint != plain.fingerprint


@every_comparison
def test_unlike_formats_and_question_sets_are_refused_and_both_are_named(
    planted: Planted, tmp_path: Path, comparison: Made
) -> None:
    before, after = planted.judgements(BASE, 60), planted.judgements(planted.organism().checkpoint(), 45)
    asked = after.responses.questions
    for changed, words in (
        (asked.but(formats=("raw", "json")), r"formats 'raw, json, template' against 'raw, json'"),
        (asked.but(count=3), r"questions '40 questions .*' against '3 questions of FreeForm"),
    ):
        other = after.but(responses=after.responses.but(questions=changed))
        planted.scores[other.fingerprint] = planted.scores[after.fingerprint]
        with pytest.raises(ValueError, match=f"cannot be compared: {words}"):
            planted.analyse(comparison(before, other), tmp_path)
