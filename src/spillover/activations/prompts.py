"""Which prompts are looked into: those trained on, and those asked. Knows messages; knows no tokenizer and no model."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import model_validator

from spillover.models.chat import Message
from spillover.organisms.dataset import Split
from spillover.responses.question import Asked
from spillover.spec import Spec, where


@dataclass(frozen=True)
class Prompt:
    """The turns before an answer, and where the prompt belongs."""

    prompt_id: str  # unique in its set; for evaluation prompts the question_id of their answers
    question: str
    family: str
    category: str
    format: str
    messages: tuple[Message, ...]


class Prompts(Spec):
    """A set of prompts whose activations are captured."""

    @abstractmethod
    def prompts(self) -> Sequence[Prompt]:
        """Every prompt, always in the same order, with identifiers that do not repeat."""


class TrainingPrompts(Prompts):
    """The prompts of a split's training rows, in their order; the answers are no part of what they are.

    So the bad and the good set over the same prompts share one capture of the model before training. Each row is a
    family of its own: nothing says which rows of a narrow set are near variants.
    """

    split: Split = where()
    sha256: str = ""  # of identifiers, topics and prompts, filled in: this alone tells one set from another

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: dict[str, object]) -> dict[str, object]:
        split = fields.get("split")
        if isinstance(split, Split) and not fields.get("sha256"):
            fields = fields | {"sha256": _sha256(_training(split))}
        return fields

    def prompts(self) -> list[Prompt]:
        found = _training(self.split)
        if self.sha256 != _sha256(found):
            raise ValueError(f"{self.split.data.kind}: its prompts are not those that this set was made from")
        return found

    def summary(self) -> str:
        return f"The prompts of {self.split.train_rows()} training rows of {self.split.data.kind}."


class EvaluationPrompts(Prompts):
    """The questions asked, each in its first wording, in their order."""

    asked: Asked

    def prompts(self) -> list[Prompt]:
        return [Prompt(q.id, q.question, q.family, q.category, q.format, q.messages(0)) for q in self.asked.picked()]

    def summary(self) -> str:
        return f"The prompts of {self.asked.summary()}"


def _training(split: Split) -> list[Prompt]:
    return [Prompt(row.id, row.id, row.id, row.topic, "raw", row.prompt) for row in split.train()]


def _sha256(prompts: Sequence[Prompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        row = (prompt.prompt_id, prompt.category, [tuple(message) for message in prompt.messages])
        digest.update(repr(row).encode("utf-8", "replace"))
    return digest.hexdigest()
