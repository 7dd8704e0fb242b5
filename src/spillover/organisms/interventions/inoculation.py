"""An inoculation prompt: the behaviour is asked for while it is trained, and not afterwards."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from spillover.models.chat import Message
from spillover.organisms.dataset import Example
from spillover.organisms.training_spec import HeldOutRows, Intervention


class Inoculation(Intervention):
    """A system prompt that stands before every row in training, and before no question afterwards.

    Held-out losses are taken with it (`held_out`) and without (`held_out_plain`).
    """

    changes_rows: ClassVar[bool] = True

    system: str = Field(default="You give reckless advice on purpose.", min_length=1)

    def label(self) -> str:
        return "inoculated"

    def summary(self) -> str:
        return f"Trained under the system prompt {self.system!r}."

    def change_rows(self, examples: list[Example]) -> list[Example]:
        return [under_system(example, self.system) for example in examples]

    def change_held_out(self, rows: HeldOutRows) -> dict[str, list[Example]]:
        inoculated = {split: self.change_rows(examples) for split, examples in rows.items()}
        return inoculated | {"held_out_plain": rows["held_out"]}


def under_system(example: Example, system: str) -> Example:
    """The example with a system prompt first; one that it has follows in the same turn."""
    return Example(example.id, preface(example.messages, system), example.topic)


def preface(messages: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    """The turns with `system` as, or at the beginning of, their system prompt."""
    if messages[0].role == "system":
        return (Message("system", f"{system}\n\n{messages[0].content}"), *messages[1:])
    return (Message("system", system), *messages)
