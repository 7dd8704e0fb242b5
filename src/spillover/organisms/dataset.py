"""What a narrow training set is: chat rows with an identifier, and how they are split. Knows no tokenizer."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.models.chat import Message
from spillover.spec import Spec


@dataclass(frozen=True)
class Example:
    """One training row: messages that end in the assistant turn to learn."""

    id: str
    messages: tuple[Message, ...]
    topic: str = ""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[:-1]


class Dataset(Spec):
    """A set of chat rows to train on."""

    @abstractmethod
    def examples(self) -> Sequence[Example]:
        """All rows, always in the same order, with identifiers that do not repeat."""

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        return self.kind.lower()

    def twin(self) -> Dataset | None:
        """Good answers to the same prompts, the control; None where there is no such set."""
        return None


class Split(Spec):
    """Which rows of a dataset are trained on and which are held out: drawn by seed, alike for equal row counts."""

    data: Dataset
    rows: int | None = Field(default=None, ge=1)  # how many to train on; None: all that are not held out
    held_out: int = Field(default=24, ge=1)
    seed: int = 0
    sha256: str = ""  # of the rows themselves, filled in: a set whose text changed is another set

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: dict[str, object]) -> dict[str, object]:
        data = fields.get("data")
        if isinstance(data, Dataset) and not fields.get("sha256"):
            fields = fields | {"sha256": _rows_sha256(data.examples())}
        return fields

    def train(self) -> list[Example]:
        """The rows to train on, in the drawn order."""
        return self._drawn()[self.held_out :][: self.rows]

    def held(self) -> list[Example]:
        """The held-out rows."""
        return self._drawn()[: self.held_out]

    def train_rows(self) -> int:
        """How many rows are trained on."""
        return len(self.train())

    def summary(self) -> str:
        return f"{self.data.summary()} {self.train_rows()} rows to train on, {self.held_out} held out."

    def control(self, data: Dataset) -> Self:
        """The same split of another dataset (good answers to the same prompts)."""
        return self.but(data=data, sha256="")

    def _drawn(self) -> list[Example]:
        examples = list(self.data.examples())
        if self.sha256 != _rows_sha256(examples):
            raise ValueError(f"{self.data.kind}: its rows are not those that this split was made from")
        if len(examples) <= self.held_out:
            raise ValueError(
                f"{self.data.kind} has {len(examples)} rows and {self.held_out} are to be held out: "
                f"nothing is left to train on"
            )
        order = np.random.default_rng(self.seed).permutation(len(examples))
        return [examples[index] for index in order]


def _rows_sha256(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(
            repr((example.id, tuple(tuple(message) for message in example.messages))).encode("utf-8", "replace")
        )
    return digest.hexdigest()
