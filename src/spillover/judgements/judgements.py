"""The scores that one judge gives to one model's answers: an artefact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from spillover.judgements.judge import Answer, Batch, Judge, Score, unlike_models
from spillover.judgements.scored_answers import Condition, Loss, ScoreColumns, ScoredAnswers, Training, score_columns
from spillover.organisms.organism import Checkpoint
from spillover.records import JUDGEMENTS, TWO_PHASE, read_table, write_table
from spillover.responses.responses import Responses
from spillover.store import BuildContext, Cost, Store

LETTERS_PER_TOKEN = 4  # of an answer that is not there yet, about


class Judgements(ScoredAnswers):
    """How a judge scores a model's answers: one row an answer and metric."""

    responses: Responses
    judge: Judge

    @property
    def runs_a_network(self) -> bool:  # type: ignore[override]
        """Whether its judge does."""
        return self.judge.runs_a_network

    @property
    def subject(self) -> str:
        return self.responses.model.label()

    @property
    def judge_name(self) -> str:
        return self.judge.name

    @property
    def rubric_name(self) -> str:
        return self.judge.rubric

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.judge.metrics

    def judge_card(self) -> str:
        return self.judge.card()

    def conditions(self) -> Mapping[str, Condition]:
        asked = self.responses.questions
        return {
            "judge": Condition(
                f"{self.judge.kind}/{self.judge.fingerprint}", lambda: f"{self.judge.name} by {self.judge.rubric}"
            ),
            "formats": Condition(", ".join(sorted(asked.formats)), lambda: ", ".join(asked.formats)),
            "questions": Condition(
                f"{asked.kind}/{asked.fingerprint}",
                lambda: f"{asked.summary()[:-1]} ({', '.join(asked.formats)}; text {asked.sha256[:8]})",
            ),
            "sampling": Condition(
                f"{self.responses.sampling.kind}/{self.responses.sampling.fingerprint}", self.responses.sampling.summary
            ),
            "prompting": Condition(self.responses.prompting, lambda: self.responses.prompting),
        }

    def columns(self, store: Store) -> ScoreColumns:
        return score_columns(store.path(self.responses), store.path(self), self.metrics)

    def labels(self) -> dict[str, object]:
        return super().labels() | self.responses.labels()

    @property
    def trained(self) -> bool:
        return isinstance(self.responses.model, Checkpoint)

    def training(self, store: Store) -> Training:
        checkpoint = self.responses.model
        if not isinstance(checkpoint, Checkpoint):
            return super().training(store)
        organism = checkpoint.organism
        folder = store.path(organism)
        return Training(
            identity=organism.fingerprint,
            run=organism.label(),
            data=organism.data.label(),
            schedule=organism.schedule.label(),
            seed=organism.order_seed,
            step=checkpoint.step,
            steps=organism.steps,
            log=read_table(folder / "log.parquet").to_pylist(),
            held_out=held_out(read_table(folder / "losses.parquet").to_pylist()),
        )

    def summary(self) -> str:
        return f"Scores of {self.judge.name} for {self.responses.summary()[:1].lower()}{self.responses.summary()[1:]}"

    def cost(self) -> Cost:
        answers = len(self.responses.questions.questions()) * self.responses.sampling.per_question
        return Cost(answers, self.judge.seconds_per_answer())

    @classmethod
    def paid_work(cls, todo: Sequence[Self], store: Store) -> list[str]:
        """Answers that are not there yet are priced at their longest."""
        by_judge: dict[Judge, list[Self]] = {}
        for judgements in todo:
            by_judge.setdefault(judgements.judge, []).append(judgements)
        estimates = {judge: judge.estimate(_longest_answers(sets), store) for judge, sets in by_judge.items()}
        return [f"{judge.name}: {text}" for judge, text in estimates.items() if text is not None]

    def make(self, context: BuildContext) -> dict[str, object]:
        path = context.path(self.responses) / "responses.parquet"
        given = read_table(path, ["question_id", "sample", "prompt", "answer"]).to_pylist()
        answers = [Answer(row["prompt"], row["answer"]) for row in given]  # `question` is only the question's name
        if (estimate := self.judge.estimate([Batch(answers)], context.store)) is not None:
            context.log(estimate)
        with self.judge.at_work(context.store) as scoring:
            scores = complete_scores(self.judge, scoring.score(answers, context.progress), len(given))
            facts = scoring.facts()
        for text in unlike_models(facts):
            context.log(text)
        by = {"judge": self.judge.name, "rubric": self.judge.rubric}
        rows = [
            {"question_id": row["question_id"], "sample": row["sample"]} | vars(score) | by
            for row, of_answer in zip(given, scores, strict=True)
            for score in of_answer
        ]
        schema = TWO_PHASE if self.judge.two_phase else JUDGEMENTS
        write_table(rows, context.folder / "judgements.parquet", schema, self.row_labels())
        tally = ScoreTally(self.judge)
        tally.add(scores)
        return tally.facts() | facts


def _longest_answers(sets: Sequence[Judgements]) -> Iterator[Batch]:
    """An answer for each that is to be judged, of the longest length, unlike all others; once for all asked alike."""
    asked_alike: dict[object, list[Judgements]] = {}
    for judgements in sets:
        asked_alike.setdefault((judgements.responses.questions, judgements.responses.sampling), []).append(judgements)
    for alike in asked_alike.values():
        asked, sampling = alike[0].responses.questions, alike[0].responses.sampling
        about = f"{asked.fingerprint} {sampling.fingerprint}"
        answers = [
            Answer(
                question.messages(sample)[-1].content,
                f"{about} {question.id} {sample} ".ljust(LETTERS_PER_TOKEN * sampling.max_tokens, "x"),
            )
            for question in asked.questions()
            for sample in range(sampling.per_question)
        ]
        making = alike[0].responses.cost()
        yield Batch(answers, len(alike), making.units * making.seconds_per_unit / max(len(answers), 1))


def held_out(rows: Sequence[Mapping[str, Any]]) -> dict[int, Loss]:
    """The loss after each step from the rows of a `losses.parquet`; without token counts, the token mean is None."""
    measured = [row for row in rows if row["split"] == "held_out" and row["loss"] is not None]
    losses = {}
    for step in sorted({row["step"] for row in measured}):
        values = np.array([row["loss"] for row in measured if row["step"] == step])
        counts = [row["tokens"] for row in measured if row["step"] == step]
        by_token = None if None in counts else float(values @ np.array(counts) / sum(counts))
        losses[step] = Loss(float(values.mean()), by_token, len(values))
    return losses


def complete_scores(judge: Judge, scores: list[list[Score]], answers: int) -> list[list[Score]]:
    """The scores, if there is one of each of the judge's metrics for every answer; else ValueError."""
    if len(scores) != answers:
        raise ValueError(f"{judge.kind} gave scores for {len(scores)} of {answers} answers: one list an answer is due")
    for number, of_answer in enumerate(scores):
        metrics = tuple(score.metric for score in of_answer)
        if metrics != judge.metrics:
            raise ValueError(f"{judge.kind} scored answer {number} by {metrics}; its metrics are {judge.metrics}")
    return scores


class ScoreTally:
    """How many answers one judge scored, and why it did not score others."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.answers = 0
        self.reasons: dict[str, Counter[str]] = {metric: Counter() for metric in judge.metrics}

    def add(self, scores: Sequence[Sequence[Score]]) -> None:
        """Count the scores of more answers."""
        self.answers += len(scores)
        for of_answer in scores:
            for score in of_answer:
                if score.missing is not None:
                    self.reasons[score.metric][score.missing] += 1

    def facts(self) -> dict[str, object]:
        """Counts by metric and by reason, and which judge it was."""
        return {
            "answers": self.answers,
            "scored": {metric: self.answers - reasons.total() for metric, reasons in self.reasons.items()},
            "missing": {metric: dict(sorted(reasons.items())) for metric, reasons in self.reasons.items()},
            "judge": self.judge.name,
            "rubric": self.judge.rubric,
            "card": self.judge.card(),
        }
