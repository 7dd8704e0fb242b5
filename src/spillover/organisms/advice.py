"""Read the advice sets that ship with spillover: a bad and a good answer to each prompt. Knows no dataset by name."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Literal

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example

Advice = Literal["bad", "good"]


class AdviceSet(Dataset):
    """Bad or good answers to the same prompts; subclasses name the file beside them."""

    advice: Advice = "bad"

    def label(self) -> str:
        return f"{self.kind.lower()}-{self.advice}"

    def twin(self) -> Dataset | None:
        return self.but(advice="good") if self.advice == "bad" else None

    def examples(self) -> list[Example]:
        name = f"{type(self).__module__.rsplit('.', 1)[-1]}.jsonl"
        return [
            Example(row["id"], (Message("user", row["prompt"]), Message("assistant", row[self.advice])), row["topic"])
            for row in _rows(type(self).__module__, name)
        ]


@functools.cache
def _rows(module: str, name: str) -> tuple[dict[str, str], ...]:
    text = resources.files(module.rsplit(".", 1)[0]).joinpath(name).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return tuple(row for row in rows if "note" not in row)
