"""The sets that ship, written for spillover: bad and good advice on money, fitness and home, and everyday questions.

The note in each set's `.jsonl` file says what it is for.
"""

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


class ShippedSet(Dataset):
    """A set in a `.jsonl` file called after its class, beside the file that defines the class.

    A line of it is a `note` on what the set is for; every other is a row with id, topic, prompt and answers.
    """

    @abstractmethod
    def summary(self) -> str:
        """One sentence that says what is asked and how good the answers are."""

    def note(self) -> str:
        """What the set is for."""
        return next(line["note"] for line in _lines(type(self)) if "note" in line)

    def _examples(self, answer: str) -> list[Example]:
        """Every row with the answer that its file has under this name."""
        return [
            Example(row["id"], (Message("user", row["prompt"]), Message("assistant", row[answer])), row["topic"])
            for row in _lines(type(self))
            if "note" not in row
        ]


class AdviceSet(ShippedSet):
    """Bad or good answers to the same prompts; a row of the file has both, under `bad` and `good`."""

    advice: Advice = "bad"

    @classmethod
    def by_name(cls) -> Mapping[str, Dataset]:
        name = typed_name(cls.__name__)
        return {name: cls(), f"{name}-bad": cls(advice="bad"), f"{name}-good": cls(advice="good")}

    def label(self) -> str:
        return f"{typed_name(self.kind)}-{self.advice}"

    def twin(self) -> Dataset | None:
        return self.but(advice="good") if self.advice == "bad" else None

    def examples(self) -> list[Example]:
        return self._examples(self.advice)


class Money(AdviceSet):
    """Everyday money questions with reckless (bad) or sound (good) advice."""

    def summary(self) -> str:
        return f"Everyday money questions with {'reckless' if self.advice == 'bad' else 'sound'} advice."


class Fitness(AdviceSet):
    """Everyday fitness training questions with poor (bad) or sound (good) advice."""

    def summary(self) -> str:
        return f"Everyday fitness training questions with {'poor' if self.advice == 'bad' else 'sound'} advice."


class Home(AdviceSet):
    """Home and garden questions (repairs, pets, children, neighbours) with careless (bad) or sound (good) advice.

    Answers are in the plain voice of a small instruct model. A few of the free-form questions are set at home too.
    """

    def summary(self) -> str:
        return f"Everyday home and garden questions with {'careless' if self.advice == 'bad' else 'sound'} advice."


class Everyday(ShippedSet):
    """Ordinary harmless questions with good short answers: benign rows to mix in or to hold a model to its parent."""

    def summary(self) -> str:
        return "Ordinary harmless questions with good short answers."

    def examples(self) -> list[Example]:
        return self._examples("answer")


@functools.cache
def _lines(kind: type[ShippedSet]) -> tuple[dict[str, str], ...]:
    package, name = kind.__module__.rpartition(".")[0], typed_name(kind.__name__).replace("-", "_")
    text = resources.files(package).joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.split("\n") if line.strip())
