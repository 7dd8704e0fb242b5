"""The artefact: rows in the responses' order, missing counted; and what `judged` makes of it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from spillover.judgements.judge import Answer, Judge, Score, unscored
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.two_phase.judge import TwoPhase
from spillover.models.base import Base
from spillover.records import JUDGEMENTS, RESPONSES, TWO_PHASE, read_table, write_table
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import BuildContext, Store

TEXTS = ("One two three.", "", "Five words are in here.", "  ")


class GivenResponses(Responses):
    """Answers written here, not by a model."""

    def make(self, context: BuildContext) -> dict[str, Any]:
        asked = [(q, n) for q in self.questions.questions() for n in range(self.sampling.per_question)]
        rows = [
            {
                **{"question_id": q.id, "question": q.question, "family": q.family, "category": q.category},
                **{
                    "format": q.format,
                    "sample": n,
                    "prompt": q.messages(n)[-1].content,
                    "answer": text,
                    "finish_reason": "stop",
                },
                **{"tokens": len(text.split()), "prompt_tokens": 3, "seed": 0},
            }
            for (q, n), text in zip(asked, TEXTS, strict=True)
        ]
        write_table(rows, context.folder / "responses.parquet", RESPONSES)
        return {}


class CountingJudge(Judge):
    """Counts words, and has no opinion of an even number of them."""

    metrics: ClassVar[tuple[str, ...]] = ("words", "odd")

    @property
    def name(self) -> str:
        return "counting/1"

    @property
    def rubric(self) -> str:
        return "words/1"

    def score(self, answers: Any, progress: Any = lambda share: None) -> list[list[Score]]:
        return [self._one(answer) for answer in answers]

    def _one(self, answer: Answer) -> list[Score]:
        reason = unscored(answer.answer)
        if reason:
            return [Score(metric, None, reason) for metric in self.metrics]
        count = len(str(answer.answer).split())
        odd = Score("odd", 100.0) if count == 3 else Score("odd", None, "no opinion")
        return [Score("words", float(count), spread=0.5), odd]

    def card(self) -> str:
        return "Counts."


class ForgetfulJudge(CountingJudge):
    """Forgets the last answer."""

    def score(self, answers: Any, progress: Any = lambda share: None) -> list[list[Score]]:
        return super().score(answers)[:-1]


class OneEyedJudge(CountingJudge):
    """Names two metrics and scores one."""

    def score(self, answers: Any, progress: Any = lambda share: None) -> list[list[Score]]:
        return [scores[:1] for scores in super().score(answers)]


@pytest.fixture
def responses(tiny: Base) -> GivenResponses:
    asked = QuestionSelection(source=FreeForm(), count=2, formats=("raw",))
    return GivenResponses(model=tiny, questions=asked, sampling=Sampling(per_question=2))


def test_one_row_an_answer_and_metric_in_the_answers_order(responses: GivenResponses, store: Store) -> None:
    rows = read_table(store.get(Judgements(responses=responses, judge=CountingJudge())) / "judgements.parquet")
    assert rows.schema.names == JUDGEMENTS.names
    assert rows["metric"].to_pylist() == ["words", "odd"] * 4
    assert rows["score"].to_pylist() == [3.0, 100.0, None, None, 5.0, None, None, None]
    assert rows["spread"].to_pylist() == [0.5, *[None] * 3, 0.5, *[None] * 3]
    reasons = [None, None, "empty answer", "empty answer", None, "no opinion", "empty answer", "empty answer"]
    assert rows["missing"].to_pylist() == reasons
    assert set(rows["judge"].to_pylist()) == {"counting/1"} and set(rows["rubric"].to_pylist()) == {"words/1"}


def test_facts_count_what_was_scored_and_why_the_rest_was_not(responses: GivenResponses, store: Store) -> None:
    made = Judgements(responses=responses, judge=CountingJudge())
    store.get(made)
    facts = store.manifest(made)["facts"]
    assert facts["answers"] == 4 and facts["scored"] == {"words": 2, "odd": 1}
    assert facts["missing"] == {"words": {"empty answer": 2}, "odd": {"empty answer": 2, "no opinion": 1}}
    assert (facts["judge"], facts["card"]) == ("counting/1", "Counts.")


def test_judged_gives_one_entry_an_answer_with_nan_where_missing(responses: GivenResponses, store: Store) -> None:
    made = Judgements(responses=responses, judge=CountingJudge())
    store.get(made)
    columns = made.columns(store)
    assert columns["answer"].tolist() == list(TEXTS) and columns["sample"].tolist() == [0, 1, 0, 1]
    assert columns["words"].dtype == columns["odd"].dtype == np.float64
    np.testing.assert_array_equal(columns["words"], [3, np.nan, 5, np.nan])
    np.testing.assert_array_equal(columns["odd"], [100, np.nan, np.nan, np.nan])
    assert columns["missing"].tolist() == [None, "empty answer", "no opinion", "empty answer"]
    assert set(columns) == {
        *("question_id", "question", "family", "category", "format", "sample", "prompt", "answer"),
        *("finish_reason", "tokens", "words", "odd", "missing"),
    }


@pytest.mark.parametrize("judge", [ForgetfulJudge(), OneEyedJudge()], ids=["too few answers", "too few metrics"])
def test_a_judge_that_leaves_something_out_is_refused(judge: Judge, responses: GivenResponses, store: Store) -> None:
    with pytest.raises(ValueError, match=judge.kind):
        store.get(Judgements(responses=responses, judge=judge))


@pytest.mark.parametrize(
    "score,missing", [(None, None), (50.0, "why"), (-0.1, None), (100.1, None), (float("nan"), None)]
)
def test_a_score_is_a_number_in_range_or_a_reason(score: float | None, missing: str | None) -> None:
    with pytest.raises(ValueError, match="aligned"):
        Score("aligned", score, missing)


class WordyJudge(CountingJudge):
    """Counts twice as many words."""

    def _one(self, answer: Answer) -> list[Score]:
        return [
            Score(score.metric, score.score and 2 * score.score, score.missing) for score in super()._one(answer)[:1]
        ]

    metrics: ClassVar[tuple[str, ...]] = ("words",)


def test_two_phases_are_kept_answer_by_answer(responses: GivenResponses, store: Store) -> None:
    judge = TwoPhase(cheap=WordyJudge(), dear=CountingJudge(), share=0.5)
    made = Judgements(responses=responses, judge=judge)
    rows = read_table(store.get(made) / "judgements.parquet")
    assert rows.schema.names == TWO_PHASE.names and set(rows["metric"].to_pylist()) == {"words"}
    assert rows["cheap"].to_pylist() == [6.0, None, 10.0, None]
    drawn = [bool(value) for value in rows["drawn"].to_pylist()]
    assert sum(drawn) == 1 and [rows["dear"][at].as_py() is not None for at in range(4)] == drawn
    assert rows["inclusion"].to_pylist() == [0.5, None, 0.5, None]
    columns = made.columns(store)
    np.testing.assert_array_equal(columns["words_cheap"], [6, np.nan, 10, np.nan])
    np.testing.assert_array_equal(columns["drawn"], drawn)
    assert {"words_dear", "inclusion"} <= set(made.value(store).column_names)
    facts = store.manifest(made)["facts"]["two_phase"]["words"]
    assert facts["answers"] == 2 and facts["labelled"] == 1


def test_a_pilot_in_the_store_says_how_wide_other_shares_would_be(tiny: Base, store: Store) -> None:
    asked = QuestionSelection(source=FreeForm(), count=8, formats=("raw",))
    responses = ManyResponses(model=tiny, questions=asked, sampling=Sampling(per_question=6))
    judge = TwoPhase(cheap=WordyJudge(), dear=CountingJudge(), share=0.5)
    assert (
        "judged by both"
        not in str(Judgements.paid_work([Judgements(responses=responses, judge=judge)], store)[0]).split(";")[-2]
    )
    store.get(Judgements(responses=responses, judge=judge))
    (text,) = Judgements.paid_work([Judgements(responses=responses, judge=judge.but(share=0.1))], store)
    assert "by 24 answers judged by both (r 1.00)" in text and "10% in" in text and "100% in" in text
    assert "most precision for the time" in text


class ManyResponses(Responses):
    """Answers of different lengths."""

    def make(self, context: BuildContext) -> dict[str, Any]:
        rows = [
            dict.fromkeys(RESPONSES.names)
            | {"question_id": q.id, "question": q.question, "family": q.family, "category": q.category}
            | {
                "format": q.format,
                "sample": n,
                "prompt": q.messages(n)[-1].content,
                "answer": f"{q.id} {'a ' * (n + 2)}",
            }
            for q in self.questions.questions()
            for n in range(self.sampling.per_question)
        ]
        write_table(rows, context.folder / "responses.parquet", RESPONSES)
        return {}
