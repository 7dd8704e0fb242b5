"""Which prompts are looked into: those trained on, and those asked, alone or with the answers that follow them."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import model_validator

from spillover.models.chat import Message
from spillover.organisms.dataset import Example, TrainingData
from spillover.responses.question import Question, QuestionSelection
from spillover.responses.responses import Responses
from spillover.responses.sampler import TABLE, read_answers
from spillover.spec import Spec, location_field
from spillover.store import Store

TEMPLATE_TOKENS, LETTERS_PER_TOKEN = 30, 4.5  # for the estimate of time alone


@dataclass(frozen=True)
class Prompt:
    """The turns before an answer, and where the prompt belongs."""

    prompt_id: str  # unique in its set; for evaluation prompts the question_id of their answers
    question: str
    family: str
    category: str
    format: str
    messages: tuple[Message, ...]
    sample: int = 0  # number of the answer among those to one question
    completion: str | None = None  # the answer that follows; None: the prompt stands alone
    thought: str = ""  # what was written before that answer


class Prompts(Spec):
    """A set of prompts whose activations are captured."""

    answered: ClassVar[bool] = False  # whether completions follow

    @abstractmethod
    def prompts(self) -> Sequence[Prompt]:
        """Every prompt, always in the same order, with identifiers that do not repeat."""

    def texts(self, store: Store) -> Sequence[Prompt]:
        """The prompts with the completions that follow them, where these are `answered`."""
        return self.prompts()

    def tokens(self) -> float:
        """How many tokens go through a model, about; for the estimate of time."""
        prompts = self.prompts()
        letters = sum(len(message.content) for prompt in prompts for message in prompt.messages)
        letters += sum(len(prompt.completion or "") for prompt in prompts)
        return letters / LETTERS_PER_TOKEN + TEMPLATE_TOKENS * len(prompts)


class _SplitPrompts(Prompts):
    """The prompts of a split's training rows, in their order, with their answers where these are `answered`.

    Each row is a family of its own: nothing says which rows of a narrow set are near variants.
    """

    split: TrainingData = location_field()
    sha256: str = ""  # of all that the set holds, filled in: this alone tells one set from another

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: dict[str, object]) -> dict[str, object]:
        split = fields.get("split")
        if isinstance(split, TrainingData) and not fields.get("sha256"):
            fields = fields | {"sha256": _sha256(_prompts_of(split, cls.answered))}
        return fields

    @abstractmethod
    def summary(self) -> str:
        """Which rows, and what of them."""

    def prompts(self) -> list[Prompt]:
        prompts = _prompts_of(self.split, self.answered)
        if self.sha256 != _sha256(prompts):
            held = "rows" if self.answered else "prompts"
            raise ValueError(f"{self.split.data.kind}: its {held} are not those that this set was made from")
        return prompts


class TrainingPrompts(_SplitPrompts):
    """The prompts of a split's training rows; the answers are no part of what they are.

    So the bad and the good set over the same prompts share one capture of the model before training.
    """

    def summary(self) -> str:
        return f"The prompts of {self.split.train_count} training rows of {self.split.data.kind}."


class TrainingRows(_SplitPrompts):
    """The training rows of a split, prompts and answers: what the model is trained to say."""

    answered: ClassVar[bool] = True

    def summary(self) -> str:
        return f"The {self.split.train_count} training rows of {self.split.data.kind} with their answers."


class EvaluationPrompts(Prompts):
    """The questions asked, each in its first wording, in their order."""

    questions: QuestionSelection

    def prompts(self) -> list[Prompt]:
        return [
            Prompt(
                question.id,
                question.question,
                question.family,
                question.category,
                question.format,
                question.messages(0),
            )
            for question in self.questions.questions()
        ]

    def summary(self) -> str:
        return f"The prompts of {self.questions.summary()}"


class AnsweredPrompts(Prompts):
    """The questions asked of a model, each followed by an answer that it gave: one prompt an answer, in their order.

    Which model is looked into is another choice: any model can be shown the answers of any other.
    """

    answered: ClassVar[bool] = True

    responses: Responses

    def prompts(self) -> list[Prompt]:
        return [_answered(question, sample) for question, sample in self._keys()]

    def texts(self, store: Store) -> list[Prompt]:
        path = store.path(self.responses) / TABLE
        answers = {(row["question_id"], row["sample"]): (row["answer"], row["thought"]) for row in read_answers(path)}
        return [_answered(question, sample, *answers[question.id, sample]) for question, sample in self._keys()]

    def tokens(self) -> float:
        sampling = self.responses.sampling
        return (
            super().tokens() + len(self.responses.questions.questions()) * sampling.per_question * sampling.max_tokens
        )

    def summary(self) -> str:
        return f"{self.responses.summary()}, with the questions before them."

    def _keys(self) -> Iterator[tuple[Question, int]]:
        for question in self.responses.questions.questions():
            for sample in range(self.responses.sampling.per_question):
                yield question, sample


def _answered(question: Question, sample: int, completion: str | None = None, thought: str | None = None) -> Prompt:
    about = (question.question, question.family, question.category, question.format)
    return Prompt(f"{question.id}#{sample}", *about, question.messages(sample), sample, completion, thought or "")


def _prompts_of(split: TrainingData, answered: bool) -> list[Prompt]:
    def prompt(row: Example) -> Prompt:
        completion = row.messages[-1].content if answered else None
        return Prompt(row.id, row.id, row.id, row.topic, "raw", row.prompt, completion=completion)

    return [prompt(row) for row in (split if answered else split.source).train_rows()]


def _sha256(prompts: Sequence[Prompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        row = [prompt.prompt_id, prompt.category, [tuple(message) for message in prompt.messages]]
        answer = [] if prompt.completion is None else [prompt.completion]
        digest.update(repr((*row, *answer)).encode("utf-8", "replace"))
    return digest.hexdigest()
