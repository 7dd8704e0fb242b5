"""A narrow training set: chat rows with an identifier, how they are split, and their tokens."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, ModelWrapValidatorHandler, model_validator

from spillover.models.chat import Message, Supervised
from spillover.spec import Spec, kinds_of, location_field, part_named, typed_name

if TYPE_CHECKING:
    from spillover.models.loading import Loaded
    from spillover.store import Store


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

    @classmethod
    def by_name(cls) -> Mapping[str, Dataset]:
        """The sets of this kind that go by a name (`dataset_named`); none where a kind needs to be told more."""
        needy = any(field.is_required() for field in cls.model_fields.values())
        return {} if needy else {typed_name(cls.__name__): cls()}

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        """The set in the file that a user typed the path of; None where `text` is no path of what this kind reads."""
        return None

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        return typed_name(self.kind)

    def twin(self) -> Dataset | None:
        """Good answers to the same prompts, the control; None where there is no such set."""
        return None


SHARE_HELD_OUT = 4  # of a small set, at most a quarter


class TrainingData(Spec):
    """Rows of a dataset to train on and rows held out: drawn by seed, alike for equal row counts."""

    data: Dataset
    rows: int | None = Field(default=None, ge=1)  # how many to train on; None: all that are not held out
    held_out: int = Field(default=24, ge=1)
    seed: int = 0
    sha256: str = ""  # of the rows themselves, filled in: a set whose text changed is another set
    available: int = 0  # rows of the whole set, filled in: the size of a run is known without its data
    fitted: str = location_field(default="")  # what was changed for so few rows, in words; no part of what it is

    @model_validator(mode="wrap")
    @classmethod
    def _bare(cls, fields: Any, validated: ModelWrapValidatorHandler[Self]) -> Any:
        """A bare dataset is the split of it that the defaults make, wherever rows to train on are wanted."""
        return Split(data=fields) if isinstance(fields, Dataset) else validated(fields)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, fields: Any) -> Any:
        """Fills in digest and size."""
        data = fields.get("data") if isinstance(fields, dict) else None
        if isinstance(data, Dataset) and not fields.get("sha256"):
            examples = data.examples()
            _expect_distinct(data, examples)
            fields = fields | {"sha256": _rows_sha256(examples), "available": len(examples)}
        return fields

    @model_validator(mode="after")
    def _enough(self) -> Self:
        left = self.available - self.held_out
        if left < 1:
            raise ValueError(
                f"{self.data.label()} has {self.available} rows and {self.held_out} are to be held out: "
                f"nothing is left to train on"
            )
        if (self.rows or 0) > left:
            raise ValueError(
                f"rows={self.rows} are to be trained on, but {self.data.label()} has {self.available} rows of which "
                f"{self.held_out} are held out: give at most {left}"
            )
        return self

    @abstractmethod
    def train_rows(self, store: Store | None = None) -> list[Example]:
        """The rows to train on, in the drawn order; `store`: of the study, where a study makes their answers."""

    @abstractmethod
    def held_out_rows(self, store: Store | None = None) -> list[Example]:
        """The held-out rows, drawn before those to train on: the same for every number of `rows`."""

    @property
    @abstractmethod
    def source(self) -> Split:
        """The split that has these prompts with answers that were written."""

    def label(self) -> str:
        """A short name of what is learnt, for tables and figures; not an identity."""
        return self.data.label()

    @property
    def train_count(self) -> int:
        """How many rows are trained on."""
        return self.rows or self.available - self.held_out

    def summary(self) -> str:
        return f"{self.data.summary()} {self.train_count} rows to train on, {self.held_out} held out."

    def limited(self, rows: int) -> Self:
        """The same split with at most so many rows to train on; 0: all that are not held out."""
        return self.but(rows=min(rows, self.train_count) or None)


class Split(TrainingData):
    """Which rows of a dataset are trained on and which are held out: drawn by seed, alike for equal row counts."""

    @classmethod
    def fit_rows(cls, data: Dataset, rows: int, held_out: int) -> Self:
        """A split with at most `rows` rows to train on (0: all others) and `held_out` held out, a quarter at most."""
        available = len(data.examples())
        least = max(1, min(held_out, available // SHARE_HELD_OUT))
        changed = (
            f"{least} rows are held out, not {held_out}: {data.label()} has {available}" if least < held_out else ""
        )
        return cls(data=data, held_out=least, fitted=changed).limited(rows)

    def train_rows(self, store: Store | None = None) -> list[Example]:
        return self._drawn()[self.held_out :][: self.rows]

    def held_out_rows(self, store: Store | None = None) -> list[Example]:
        return self._drawn()[: self.held_out]

    @property
    def source(self) -> Split:
        return self

    def control(self, data: Dataset) -> Self:
        """The same split of good answers to the same prompts, row by row; ValueError where the set is not that."""
        expect_control(self.data, data)
        return self.but(data=data, sha256="")

    def _drawn(self) -> list[Example]:
        examples = self.data.examples()
        if self.sha256 != _rows_sha256(examples):
            raise ValueError(f"{self.data.label()}: its rows are not those that this split was made from")
        order = np.random.default_rng(self.seed).permutation(len(examples))
        return [examples[index] for index in order]


def supervise(loaded: Loaded, examples: Sequence[Example], max_length: int) -> list[Supervised]:
    """Tokens of every row with its supervised part; a ValueError names the row that cannot be trained on."""
    chat, rows = loaded.chat(), []
    for example in examples:
        try:
            row = chat.supervised(example.messages, max_length)
        except ValueError as error:
            raise ValueError(f"row {example.id}: {error}") from None
        if row.trained < 1 or row.prompt_length < 1:
            raise ValueError(f"row {example.id}: nothing of it is supervised, its answer has no token of its own")
        rows.append(row)
    return rows


def dataset_named(text: str) -> Dataset:
    """The dataset that a user names: `money`, `money-good`, `home`, ..., or a file of rows by its path."""
    known: dict[str, Dataset] = {}
    for kind in kinds_of(Dataset).values():
        assert issubclass(kind, Dataset)
        if (data := kind.from_typed_path(text)) is not None:
            return data
        known |= kind.by_name()
    besides = ", or a file or folder of rows by its path, or hf-data:OWNER/NAME@REVISION"
    return part_named("dataset", text, known, besides)


def _expect_distinct(data: Dataset, examples: Sequence[Example]) -> None:
    twice = [name for name, count in Counter(example.id for example in examples).items() if count > 1]
    if twice:
        shown = ", ".join(twice[:3])
        raise ValueError(f"{data.label()}: rows need distinct ids, more than one row is called {shown}")


def expect_control(data: Dataset, control: Dataset) -> None:
    """ValueError unless the second set has other answers to the prompts of the first, row by row."""
    ours, theirs = data.examples(), control.examples()
    prompts, others = ([example.prompt for example in rows] for rows in (ours, theirs))
    if prompts != others:
        shared = sum((Counter(prompts) & Counter(others)).values())
        odd = next(
            (n for n, (a, b) in enumerate(zip(prompts, others, strict=False)) if a != b), min(map(len, (ours, theirs)))
        )
        raise ValueError(
            f"{control.label()} is no control of {data.label()}: a control answers the same prompts in the same order, "
            f"row by row. {data.label()} has {len(ours)} rows, the control {len(theirs)}, {shared} prompts are in "
            f"both, and row {odd + 1} is the first that differs"
        )
    if all(a.messages == b.messages for a, b in zip(ours, theirs, strict=True)):
        raise ValueError(
            f"{control.label()} has the very answers of {data.label()}: a control answers the same prompts well"
        )


def _rows_sha256(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.id, tuple(tuple(message) for message in example.messages))).encode("utf-8"))
    return digest.hexdigest()
