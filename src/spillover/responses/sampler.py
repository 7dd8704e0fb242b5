"""Who draws the answers, what is asked of a sampler, and the rows that its answers become."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa
from pydantic import model_validator

from spillover.models.base import Model
from spillover.models.chat import Chat, Prompting
from spillover.models.loading import default_prompting
from spillover.models.precision import DType
from spillover.records import RESPONSES, THOUGHT_RESPONSES, Cells, column_names, read_table, write_table
from spillover.responses.question import Question, QuestionSelection
from spillover.responses.sampling import Sampling
from spillover.spec import Spec
from spillover.store import Artefact, BuildContext, Cost, Store

PROMPT_TOKENS = 40  # of a prompt that it does not share with others, about
TABLE = "responses.parquet"


class Sampler(Spec):
    """Who draws the answers."""

    @abstractmethod
    def make(self, asked: AnswerSet, context: BuildContext) -> dict[str, object]:
        """Draw the answers and `write_responses` them into `context.folder`; facts for the manifest."""

    @abstractmethod
    def seconds(self, asked: AnswerSet, tokens: float) -> float:
        """About how long that takes, where the store holds no measurement yet.

        tokens: that are read and written, at most, each as many times as the model's parameters are 135 million.
        """

    def answers_by(self) -> str:
        """Who answers, in a few words, where it is not this project's own loop."""
        return ""

    def refuse(self, asked: AnswerSet) -> None:
        """ValueError where it cannot make such answers."""


class AnswerSet(Artefact):
    """One model's answers to one set of questions: what a sampler is asked for."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    questions: QuestionSelection
    sampling: Sampling = Sampling()
    sampler: Sampler

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        self.sampler.refuse(self)
        return self

    @property
    def precision(self) -> DType:
        """What the model computes in where it is asked here."""
        return self.sampling.precision

    @property
    def prompting(self) -> Prompting:
        """How the model is prompted: as the sampling says, else by what the base is."""
        return self.sampling.prompting or default_prompting(self.model.base())

    @property
    def count(self) -> int:
        """How many answers there will be."""
        return len(self.questions.questions()) * self.sampling.per_question

    def pairs(self) -> list[tuple[Question, int]]:
        """Each question with each sample number, in the order of the rows."""
        return [
            (question, sample)
            for question in self.questions.questions()
            for sample in range(self.sampling.per_question)
        ]

    def labels(self) -> dict[str, object]:
        """What stands in every row of its answers: model, data, step and questions by their short names."""
        return self.model.labels() | {"questions": self.questions.label()}

    def value(self, store: Store) -> pa.Table:
        """The answers, one a row."""
        return read_table(store.path(self) / TABLE)

    def summary(self) -> str:
        by = self.sampler.answers_by()
        return f"{self.sampling.per_question} answers of {self.model.label()} to each question{by and f', by {by}'}"

    def cost(self) -> Cost:
        """Tokens that go through a model of 135M parameters, were no answer to end early."""
        written = self.count * self.sampling.max_tokens
        units = (len(self.questions.questions()) * PROMPT_TOKENS + written) * self.model.relative_size
        return Cost(units, self.sampler.seconds(self, units) / units, tokens=written, token_use="written at most")


@dataclass(frozen=True)
class SampledAnswer:
    """An answer as it was drawn; `tokens` without its end mark, with its thought, 0 if an engine counts none."""

    text: str
    finish: str | None  # stop, length, stop_text, ...: why it ended
    tokens: int
    prompt_tokens: int
    thought: str = field(default="", kw_only=True)  # what was written before the answer

    def without_thought(self, chat: Chat, prompt: str) -> Self:
        """The answer that follows this text of a prompt, with the thought it begins with kept apart."""
        thought, answer = chat.split_thought(self.text, prompt)
        return self if answer == self.text else replace(self, text=answer, thought=thought)


def write_responses(asked: AnswerSet, answers: Sequence[SampledAnswer], folder: Path) -> dict[str, object]:
    """Write `responses.parquet`, the answers to `asked.pairs()` in this order; counts of them for the manifest."""
    seed = asked.sampling.seed
    pairs = zip(asked.pairs(), answers, strict=True)
    rows = [response_row(*pair, answer, seed) for pair, answer in pairs]
    write_table(rows, folder / TABLE, response_schema(rows), asked.labels())
    unfinished = sum(bool(answer.thought and not answer.text.strip()) for answer in answers)
    if unfinished * 2 > len(answers):
        warnings.warn(
            f"{unfinished} of {len(answers)} answers are empty: their thoughts were not done at "
            f"max_tokens={asked.sampling.max_tokens}; raise it, or ask with thinking off",
            stacklevel=2,
        )
    return {
        **({"unfinished_thoughts": unfinished} if unfinished else {}),
        "answers": len(answers),
        "tokens": sum(answer.tokens for answer in answers),
        "finish_reasons": dict(sorted(Counter(str(answer.finish) for answer in answers).items())),
    }


def response_row(question: Question, sample: int, answer: SampledAnswer, seed: int) -> dict[str, object]:
    """A row of the `RESPONSES` schema; half characters, which no table takes, become a question mark."""
    return {
        "question_id": question.id,
        "sample": sample,
        "question": question.question,
        "family": question.family,
        "category": question.category,
        "format": question.format,
        "prompt": question.messages(sample)[-1].content,
        "answer": _whole_characters(answer.text.strip()),
        "finish_reason": answer.finish,
        "tokens": answer.tokens,
        "prompt_tokens": answer.prompt_tokens,
        "seed": seed,
        "thought": _whole_characters(answer.thought.strip()) or None,
    }


def response_schema(rows: Sequence[Mapping[str, object]]) -> pa.Schema:
    """The columns of a table of answers: thoughts have one where there are any."""
    return THOUGHT_RESPONSES if any(row.get("thought") for row in rows) else RESPONSES


def read_answers(path: Path) -> list[Cells]:
    """question_id, sample, answer and thought (None without one) of every row of a table of answers."""
    columns = [name for name in ("question_id", "sample", "answer", "thought") if name in column_names(path)]
    return [{"thought": None} | row for row in read_table(path, columns).to_pylist()]


def _whole_characters(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
