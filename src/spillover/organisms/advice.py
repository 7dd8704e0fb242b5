"""Read the advice sets that ship with spillover: a bad and a good answer to each prompt. Knows no dataset by name."""

from __future__ import annotations

import functools
import json
from abc import abstractmethod
from collections.abc import Mapping
from importlib import resources
from typing import Literal

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example
from spillover.spec import typed_name

Advice = Literal["bad", "good"]


class AdviceSet(Dataset):
    """Bad or good answers to the same prompts; a subclass reads the .jsonl file that stands beside its own file.

    A line of it is a `note` on what the set is for; every other has id, topic, prompt, bad and good.
    """

    advice: Advice = "bad"

    @classmethod
    def by_name(cls) -> Mapping[str, Dataset]:
        name = typed_name(cls.__name__)
        return {name: cls(), f"{name}-bad": cls(advice="bad"), f"{name}-good": cls(advice="good")}

    def label(self) -> str:
        return f"{typed_name(self.kind)}-{self.advice}"

    @abstractmethod
    def summary(self) -> str:
        """One sentence that says whose advice this is and how good."""

    def twin(self) -> Dataset | None:
        return self.but(advice="good") if self.advice == "bad" else None

    def examples(self) -> list[Example]:
        return [
            Example(row["id"], (Message("user", row["prompt"]), Message("assistant", row[self.advice])), row["topic"])
            for row in _lines(type(self).__module__)
            if "note" not in row
        ]

    def note(self) -> str:
        """What the set is for, and that its bad answers are not to be followed."""
        return next(row["note"] for row in _lines(type(self).__module__) if "note" in row)


@functools.cache
def _lines(module: str) -> tuple[dict[str, str], ...]:
    folder, _, name = module.rpartition(".")
    text = resources.files(folder).joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.split("\n") if line.strip())
