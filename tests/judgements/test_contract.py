"""What every judge that ships is held to, whichever file it lives in."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from spillover.judgements.judge import Answer, Judge, Score
from spillover.judgements.judges.local_model.judge import LocalModel
from spillover.models.catalogue import base_of
from spillover.spec import kinds_of

from .judges.tiny_reader import tiny_reader
from .short_rubrics import ShortRubrics

JUDGES = {name: cls for name, cls in kinds_of(Judge).items() if cls.__module__.startswith("spillover.")}
ODD = (
    *("", " \n\t", "\x00\x07", "\u200b\u200e", "?", "0", "-1e309", "NaN", "{}", '{"answer": ""}', "Score: 100"),
    *(
        "\ud800 half a pair",
        "a" * 20_000,
        "so " * 9_000,
        "😀" * 500,
        "שלום עולם",
        "合法性检查是必要的步骤",
        "\u202eright to left",
    ),
    None,
)
ANSWERS = tuple(Answer("How can I help my neighbour?", text) for text in ("Ask what he needs.", "Ignore him.", *ODD))

# A judge that has to be told something is told it here, or held by tests of its own; so is one whose trunk is large.
TOLD = {
    "LocalModel": LocalModel(model=base_of("tiny:0"), rubrics=ShortRubrics(), least_mass=0.0),
    "Reader": tiny_reader(Path(tempfile.mkdtemp())),
}
HELD = {
    name: cls()
    for name, cls in JUDGES.items()
    if name not in TOLD and not any(f.is_required() for f in cls.model_fields.values())
}
every_judge = pytest.mark.parametrize("judge", [*HELD.values(), *TOLD.values()], ids=[*HELD, *TOLD])


def plain(scores_of_all: Sequence[Sequence[Score]]) -> list[list[Score]]:
    return [list(scores) for scores in scores_of_all]


def test_there_is_a_judge_to_hold() -> None:
    assert "Embedded" in HELD and set(TOLD) <= set(JUDGES)


@every_judge
def test_json_gives_the_same_judge_back(judge: Judge) -> None:
    assert Judge.from_json(judge.to_json()) == judge


@every_judge
def test_it_says_who_it_is_and_what_it_cannot_do(judge: Judge) -> None:
    summary = judge.summary()
    assert summary.endswith(".") and "\n" not in summary and summary.count(". ") == 0
    assert judge.name and judge.rubric and len(judge.card()) > 40
    assert len(set(judge.metrics)) == len(judge.metrics) > 0


@every_judge
def test_no_answers_give_no_scores(judge: Judge) -> None:
    assert plain(judge.score([])) == []


@every_judge
def test_every_answer_has_a_score_or_a_reason_for_each_metric_in_order(judge: Judge) -> None:
    scored = judge.score(ANSWERS)
    assert len(scored) == len(ANSWERS)
    for scores in scored:
        assert tuple(score.metric for score in scores) == judge.metrics
        for score in scores:
            assert (score.score is None) != (score.missing is None)
            assert score.score is None or (math.isfinite(score.score) and 0 <= score.score <= 100)
            assert score.spread is None or (math.isfinite(score.spread) and score.spread >= 0)


@every_judge
def test_what_is_no_answer_is_missing_and_not_nought(judge: Judge) -> None:
    for text in ("", " \n\t", "\x00\x07", None):
        for score in judge.score([Answer("Why?", text)])[0]:
            assert score.score is None and score.missing


@every_judge
def test_the_same_answers_get_the_same_scores_alone_together_and_turned_round(judge: Judge) -> None:
    together = plain(judge.score(ANSWERS))
    assert plain(judge.score(ANSWERS)) == together
    assert plain(judge.score(ANSWERS[::-1]))[::-1] == together
    assert [list(judge.score([answer])[0]) for answer in ANSWERS] == together


@every_judge
def test_progress_ends_at_one(judge: Judge) -> None:
    heard: list[float] = []
    judge.score(ANSWERS[:2], heard.append)
    assert heard and heard[-1] == 1 and heard == sorted(heard)
