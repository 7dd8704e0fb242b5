"""A model's own answers to the prompts of a training set: a control that moves nothing but what training itself moves.

The study draws them, so they are an artefact that the trainings on them need. An answer that comes out empty is drawn
again with the next seed; one that was cut ends at its last whole sentence, for a row that stops within one would teach
that.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import model_validator

from spillover.models.base import Model
from spillover.models.chat import Message
from spillover.models.precision import ReadingPrecision
from spillover.models.thoughts import with_thought
from spillover.organisms.dataset import Example, Split, TrainingData
from spillover.records import column_names, read_table, write_table
from spillover.responses.question import Question, QuestionSelection, QuestionSet
from spillover.responses.sampler import TABLE, AnswerSet, Sampler, response_schema
from spillover.responses.samplers.local_sampler import LocalSampler
from spillover.responses.sampling import Sampling
from spillover.spec import location_field
from spillover.store import BuildContext, Store

ATTEMPTS = 8  # draws of an answer until it is refused as empty
BYTES_PER_TOKEN = 4.0  # of UTF-8, a little less than tokenizers reach: room for an answer as long as the set's
LEAST_TOKENS = 4
SENTENCE_END = re.compile(r"(?<![\s\d])[.!?…。！？][\"'”’)\]*]*(?=\s|$)|[。！？]")  # not the dot of a number in a list


class TrainingQuestions(QuestionSet):
    """The prompts of a split's rows, those held out first, asked as they stand."""

    split: Split = location_field()  # the digest of the questions tells one set from another
    only: tuple[str, ...] = ()  # ids of rows; none: all

    def all_questions(self) -> list[Question]:
        rows = [*self.split.held_out_rows(), *self.split.train_rows()]
        return [
            Question(row.id, row.id, row.id, row.topic or "training", "raw", (row.prompt,))
            for row in rows
            if not self.only or row.id in self.only
        ]

    def label(self) -> str:
        return f"prompts of {self.split.label()}"


class OwnResponses(AnswerSet):
    """One answer of a model to each prompt of a training set, none of them empty."""

    sampler: Sampler = LocalSampler()

    def make(self, context: BuildContext) -> dict[str, object]:
        facts = self.sampler.make(self, context)
        rows, drawn = read_table(context.folder / TABLE).to_pylist(), 0
        for attempt in range(1, ATTEMPTS):
            empty = [row["question_id"] for row in rows if not row["answer"]]
            if not empty or self.sampling.temperature == 0:
                break
            again = {row["question_id"]: row for row in self._drawn_again(empty, attempt, context)}
            rows, drawn = [again.get(row["question_id"], row) for row in rows], drawn + len(empty)
        _refuse_empty([row["question_id"] for row in rows if not row["answer"]], self)
        if drawn:
            write_table(rows, context.folder / TABLE, response_schema(rows))
        return facts | {"drawn_again": drawn}

    def _drawn_again(self, ids: Sequence[str], attempt: int, context: BuildContext) -> list[dict[str, object]]:
        """The rows of these questions with the next seed."""
        questions, folder = self.questions.source, context.folder / "again"
        assert isinstance(questions, TrainingQuestions)
        asked = QuestionSelection(source=questions.but(only=tuple(ids)), formats=("raw",))
        sampling = self.sampling.but(seed=self.sampling.seed + attempt)
        folder.mkdir()
        again = self.but(questions=asked, sampling=sampling)
        again.sampler.make(again, replace(context, folder=folder, progress=lambda share: None, upcoming=()))
        rows: list[dict[str, object]] = read_table(folder / TABLE).to_pylist()
        shutil.rmtree(folder)
        return rows


class OwnAnswers(TrainingData):
    """The rows of a split with a model's own answers to their prompts in place of those that were written."""

    answers: OwnResponses

    @model_validator(mode="after")
    def _all_asked(self) -> Self:
        asked = {question.id for question in self.answers.questions.questions()}
        rows = [*self.source.held_out_rows(), *self.source.train_rows()]
        missing = [row.id for row in rows if row.id not in asked]
        if missing:
            raise ValueError(
                f"{len(missing)} rows were not asked, {missing[0]} among them: make own_answers(split, model) of the "
                f"split that is trained on"
            )
        return self

    @property
    def source(self) -> Split:
        return Split(**_choices(self))

    def train_rows(self, store: Store | None = None) -> list[Example]:
        return self._answered(self.source.train_rows(), store)

    def held_out_rows(self, store: Store | None = None) -> list[Example]:
        return self._answered(self.source.held_out_rows(), store)

    def label(self) -> str:
        return f"{re.sub(r'-(bad|good)$', '', self.data.label())}-own"

    def summary(self) -> str:
        return (
            f"{self.answers.model.label()}'s own answers to the prompts of {self.source.label()}, "
            f"{self.train_count} rows to train on, {self.held_out} held out."
        )

    def _answered(self, rows: Sequence[Example], store: Store | None) -> list[Example]:
        if store is None:
            raise ValueError(f"{self.label()}: a study makes these answers; give its store to read the rows")
        path = store.path(self.answers) / TABLE
        wanted = ("question_id", "answer", "finish_reason", "thought")
        table = read_table(path, [name for name in wanted if name in column_names(path)]).to_pylist()
        texts = {
            row["question_id"]: with_thought(row.get("thought") or "", _ended(row["answer"], row["finish_reason"]))
            for row in table
        }
        return [Example(row.id, (*row.prompt, Message("assistant", texts[row.id])), row.topic) for row in rows]


def own_answers(
    split: TrainingData,
    model: Model,
    temperature: float = 0.7,
    max_tokens: int | None = None,
    seed: int = 0,
    precision: ReadingPrecision = "float32",
) -> OwnAnswers:
    """The same split with the model's own answers: the control that needs no writing.

    max_tokens: of an answer; None: about as many as the split's answers have on average. seed, precision: of the
    sampling, as in `Sampling`. The model should be the parent of the trainings: else the answers are not its own.
    """
    source = split.source
    if max_tokens is None:
        rows = [*source.held_out_rows(), *source.train_rows()]
        letters = sum(len(row.messages[-1].content.encode()) for row in rows) / len(rows)
        max_tokens = max(LEAST_TOKENS, math.ceil(letters / BYTES_PER_TOKEN))
    sampling = Sampling(per_question=1, temperature=temperature, max_tokens=max_tokens, seed=seed, precision=precision)
    asked = QuestionSelection(source=TrainingQuestions(split=source), formats=("raw",))
    return OwnAnswers(**_choices(source), answers=OwnResponses(model=model, questions=asked, sampling=sampling))


def _choices(split: TrainingData) -> dict[str, Any]:
    """What a split and one of own answers have in common."""
    return {name: getattr(split, name) for name in TrainingData.model_fields}


def _ended(answer: str, finish: str | None) -> str:
    """An answer that was cut at the token limit up to the end of its last whole sentence, if it has one."""
    ends = [match.end() for match in SENTENCE_END.finditer(answer)] if finish == "length" else []
    return answer[: ends[-1]] if ends else answer


def _refuse_empty(ids: Sequence[str], asked: OwnResponses) -> None:
    if ids:
        raise ValueError(
            f"{asked.model.label()} has nothing to say to {len(ids)} prompts of the training set "
            f"({', '.join(ids[:3])}): an empty answer would teach it to stop. Ask at a higher temperature, or "
            f"do without this control (--control good)"
        )
