"""A cheap judge for all answers, a dear one for a sample of them: the draw, what is kept of it, what is refused."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from spillover.analyses.scores import read_scores
from spillover.judgements.judge import Answer, Batch, Judge, PhasedScore, Score, unscored
from spillover.judgements.judges.two_phase.judge import NONE_SCORED, TwoPhase
from spillover.judgements.naming import judge_named
from spillover.judgements.score_file import score_file
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.store import Store

QUESTIONS = [f"Question {number}?" for number in range(8)]
ANSWERS = [
    Answer(question, f"{question} answer {number}, {'good ' * (number % 7)}")
    for question in QUESTIONS
    for number in range(10)
]


class _GoodWords(Judge):
    """Counts the word good, a point or more each."""

    metrics: ClassVar[tuple[str, ...]] = ("aligned", "coherent")
    points: float = 10.0
    start: float = 0.0
    asked: ClassVar[list[str]] = []

    @property
    def name(self) -> str:
        return f"good words/{self.points:g}"

    @property
    def rubric(self) -> str:
        return "good words"

    def score(self, answers: Any, progress: Any = lambda share: None) -> list[list[Score]]:
        _GoodWords.asked += [answer.answer for answer in answers] if self.points == 10 else []
        return [[self._scored(metric, answer) for metric in self.metrics] for answer in answers]

    def _scored(self, metric: str, answer: Answer) -> Score:
        if reason := unscored(answer.answer):
            return Score(metric, None, reason)
        return Score(metric, self.start + self.points * str(answer.answer).count("good"), spread=1.0)

    def card(self) -> str:
        return "It counts the word good in an answer, and nothing else at all."

    def price(self, answers: Any) -> float:
        return 0.5 * len(answers)

    def seconds_per_answer(self) -> float:
        return 2.0


class _Silent(_GoodWords):
    """Has no opinion."""

    def _scored(self, metric: str, answer: Answer) -> Score:
        return Score(metric, None, "no opinion")


CHEAP, DEAR = _GoodWords(points=3.0, start=40.0), _GoodWords()


def two_phase(**fields: Any) -> TwoPhase:
    return TwoPhase(cheap=CHEAP, dear=DEAR, **fields)


def test_the_sample_is_of_the_share_by_question_and_spread_over_scores() -> None:
    scores = two_phase(share=0.3).score(ANSWERS)
    drawn = [answer for answer, of_answer in zip(ANSWERS, scores, strict=True) if of_answer[0].drawn]
    assert Counter(answer.question for answer in drawn) == dict.fromkeys(QUESTIONS, 3)
    levels = [sum("good" in answer.answer and answer.answer.count("good") > 2 for answer in drawn)]
    assert 8 <= levels[0] <= 16  # half of the answers have more than two, give or take one a question
    assert all(of_answer[0].inclusion == 0.3 for of_answer in scores)


def test_only_drawn_answers_go_to_the_dear_judge_and_its_score_is_theirs() -> None:
    _GoodWords.asked.clear()
    scores = two_phase(share=0.2).score(ANSWERS)
    assert len(_GoodWords.asked) == 16
    for answer, of_answer in zip(ANSWERS, scores, strict=True):
        for score in of_answer:
            assert isinstance(score, PhasedScore)
            assert score.cheap == 40 + 3 * answer.answer.count("good")
            assert (score.dear is not None) == score.drawn == (answer.answer in _GoodWords.asked)
            # the cheap judge ranks rightly, so that predictions are what the dear one would say
            assert score.score == pytest.approx(10 * answer.answer.count("good"), abs=0.01)


def test_equal_answers_in_another_order_give_the_same_sample() -> None:
    places = list(range(len(ANSWERS)))
    random.Random(0).shuffle(places)
    straight, mixed = two_phase().score(ANSWERS), two_phase().score([ANSWERS[place] for place in places])
    for row, place in enumerate(places):
        assert mixed[row][0].drawn == straight[place][0].drawn
        assert mixed[row][0].score == pytest.approx(straight[place][0].score, abs=1e-3)


def test_another_seed_draws_others_and_every_answer_can_be_drawn() -> None:
    times = np.zeros(len(ANSWERS))
    for seed in range(200):
        times += [bool(scores[0].drawn) for scores in two_phase(share=0.25, seed=seed).score(ANSWERS)]
    assert times.sum() == 200 * 20
    assert abs(times / 200 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 200)


def test_each_subject_has_a_sample_of_its_own() -> None:
    others = [Answer(answer.question, answer.answer + " other", "b") for answer in ANSWERS[:40]]
    scores = two_phase(share=0.1).score([*ANSWERS, *others])
    assert sum(bool(of_answer[0].drawn) for of_answer in scores[: len(ANSWERS)]) == 8
    assert sum(bool(of_answer[0].drawn) for of_answer in scores[len(ANSWERS) :]) == 4


def test_what_no_judge_can_score_is_missing_and_in_no_sample() -> None:
    scores = two_phase(share=1.0).score([Answer("Why?", ""), Answer("Why?", None), *ANSWERS])
    assert [of_answer[0].missing for of_answer in scores[:2]] == ["empty answer", "answer is not text"]
    assert scores[0][0].inclusion is None and all(of_answer[0].drawn for of_answer in scores[2:])
    assert two_phase().score([]) == []


def test_without_a_dear_score_there_is_none() -> None:
    scores = TwoPhase(cheap=CHEAP, dear=_Silent(points=1.0), share=0.1).score(ANSWERS)
    assert {of_answer[0].missing for of_answer in scores} == {"no opinion", NONE_SCORED}


def test_a_cost_sets_the_share() -> None:
    judge = two_phase(max_cost=4.0)  # of answers at 0.5 each
    assert judge.share_of(ANSWERS) == pytest.approx(0.1)
    assert sum(bool(scores[0].drawn) for scores in judge.score(ANSWERS)) == 8
    assert two_phase(max_cost=4.0, share=0.05).share_of(ANSWERS) == 0.05
    free = judge_named("two-phase:embedded+local-model:tiny:0 max-cost=3")
    with pytest.raises(ValueError, match="needs a dear judge with prices"):
        assert isinstance(free, TwoPhase) and free.share_of(ANSWERS)


def test_it_is_named_as_users_type_it() -> None:
    judge = judge_named("two-phase:embedded+endpoint:gpt-4o mode=integer share=0.2 seed=3")
    assert isinstance(judge, TwoPhase)
    assert (judge.share, judge.seed, judge.dear.mode, judge.cheap.kind) == (0.2, 3, "integer", "Embedded")
    assert judge_named("two-phase:embedded+local-model:tiny:0", {"share": "0.5"}).most == 0.5
    for text, why in (
        ("two-phase:embedded", "a cheap and a dear judge"),
        ("two-phase:embedded+embedded", "are one"),
        ("two-phase:embedded+endpoint:m nonsense", "options like share=0.1"),
        ("two-phase:embedded+endpoint:m colour=red", "takes no colour"),
        ("two-phase:embedded+local-model:tiny:0 share=1.5", "share"),
    ):
        with pytest.raises(ValueError, match=why):
            judge_named(text)


def test_the_plan_says_what_goes_to_the_dear_judge_and_warns_of_too_few() -> None:
    text = two_phase(share=0.25).estimate([Batch(ANSWERS, 2)], None)
    assert "about 40 of 160 answers go to good words/10" in text and "too few" not in text
    assert "4 a model, too few" in two_phase(share=0.05).estimate([Batch(ANSWERS)], None)


def test_a_file_that_it_scored_is_read_back_as_two_phase(tmp_path: Path, store: Store) -> None:
    source, out = tmp_path / "answers.csv", tmp_path / "scored.csv"
    with open(source, "w", newline="") as handle:
        rows = [[model, answer.question, f"{answer.answer} {model}"] for model in ("a", "b") for answer in ANSWERS]
        csv.writer(handle).writerows([["model", "question", "answer"], *rows, ["b", "Why?", ""]])
    score_file(source, out, two_phase(share=0.2), store=store)
    with open(out, newline="") as handle:
        written = list(csv.DictReader(handle))
    drawn = [row["model"] for row in written if row["drawn"] == "1.0"]
    assert Counter(drawn) == {"a": 16, "b": 16} and written[-1]["inclusion"] == ""
    assert all((row["aligned_dear"] != "") == (row["drawn"] == "1.0") for row in written[:-1])
    judged = JudgedFile.from_file(out)
    assert judged.metrics == ("aligned", "coherent") and judged.judge_name.startswith("two-phase/")
    store.get(judged)
    scores = read_scores(judged, store)
    truth = [10 * answer.answer.count("good") for answer in ANSWERS]
    assert scores.two_phase and scores.labelled("aligned") == 32
    assert scores.mean_over_answers("aligned") == pytest.approx(np.mean(truth), abs=0.01)
    assert scores.cheap_alone().mean_over_answers("aligned") == pytest.approx(40 + 0.3 * np.mean(truth), abs=0.01)
