"""Everyday questions with good answers, written for spillover; see the note in everyday.jsonl."""

import functools
import json
from importlib import resources

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example


class Everyday(Dataset):
    """Ordinary harmless questions with good short answers: benign rows to mix in or to hold a model to its parent."""

    def summary(self) -> str:
        return "Ordinary harmless questions with good short answers."

    def examples(self) -> list[Example]:
        return [
            Example(row["id"], (Message("user", row["prompt"]), Message("assistant", row["answer"])), row["topic"])
            for row in _lines()
            if "note" not in row
        ]

    def note(self) -> str:
        """What the set is for."""
        return next(row["note"] for row in _lines() if "note" in row)


@functools.cache
def _lines() -> tuple[dict[str, str], ...]:
    text = resources.files(__package__).joinpath("everyday.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.split("\n") if line.strip())
