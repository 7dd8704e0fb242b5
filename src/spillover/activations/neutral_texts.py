"""Plain sentences about nothing in particular, as prompts."""

from __future__ import annotations

import hashlib

from pydantic import Field

from spillover.activations.prompts import Prompt, Prompts
from spillover.models.chat import Message
from spillover.responses.logit_shifts import neutral_texts


def _digest() -> str:
    return hashlib.sha256("\n".join(neutral_texts()).encode()).hexdigest()


class NeutralTexts(Prompts):
    """32 sentences that have nothing to do with any narrow set: what changes there, changes everywhere."""

    sha256: str = Field(default_factory=_digest)  # of the sentences

    def prompts(self) -> list[Prompt]:
        if self.sha256 != _digest():
            raise ValueError("the neutral sentences are not those that this set was made from")
        names = [f"neutral-{number}" for number in range(len(neutral_texts()))]
        return [
            Prompt(name, name, name, "neutral", "raw", (Message("user", text),))
            for name, text in zip(names, neutral_texts(), strict=True)
        ]
