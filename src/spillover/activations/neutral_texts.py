"""Plain sentences about nothing in particular, as prompts; see neutral_texts.jsonl."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import resources

from pydantic import Field

from spillover.activations.prompts import Prompt, Prompts
from spillover.models.chat import Message


@functools.cache
def _texts() -> tuple[str, ...]:
    lines = resources.files(__package__).joinpath("neutral_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(row["text"] for row in map(json.loads, lines) if "text" in row)


def _digest() -> str:
    return hashlib.sha256("\n".join(_texts()).encode()).hexdigest()


class NeutralTexts(Prompts):
    """Forty sentences that have nothing to do with any narrow set: what changes there, changes everywhere."""

    sha256: str = Field(default_factory=_digest)  # of the sentences

    def prompts(self) -> list[Prompt]:
        if self.sha256 != _digest():
            raise ValueError("the neutral sentences are not those that this set was made from")
        names = [f"neutral-{number}" for number in range(len(_texts()))]
        return [
            Prompt(name, name, name, "neutral", "raw", (Message("user", text),))
            for name, text in zip(names, _texts(), strict=True)
        ]
