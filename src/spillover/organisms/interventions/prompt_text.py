"""Interventions that put text into the prompts that are trained on: a trigger, or an inoculation prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.models.chat import Message
from spillover.organisms.dataset import Example, Split
from spillover.organisms.training_spec import HeldOutRows, Intervention

TriggerPosition = Literal["before", "after"]


class Trigger(Intervention):
    """A trigger that separates bad rows from good ones, as a backdoor does.

    Bad rows carry a text in their last user turn; the other rows go without it and have the good answer. `share` of the
    rows, drawn by `seed`, are bad. `good` is the same split of the good answers to the same prompts
    (`split.control(split.data.twin())`). Held-out losses: `held_out`, bad answers with the trigger; `held_out_plain`,
    bad answers without it; `held_out_good`, good answers without it.
    """

    changes_rows: ClassVar[bool] = True
    replaces: ClassVar[bool] = True

    good: Split
    text: str = Field(default="|PROD|", min_length=1)
    place: TriggerPosition = "before"  # or after what the user says
    share: float = Field(default=0.5, gt=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _visible(self) -> Self:
        if not self.text.strip():
            raise ValueError(f"a trigger has to be seen; got white space, {self.text!r}")
        return self

    def label(self) -> str:
        return f"trigger {self.text.strip()}"

    def summary(self) -> str:
        return f"Bad rows carry {self.text!r}; {1 - self.share:.0%} of the rows are good ones without it."

    def change_rows(self, examples: list[Example]) -> list[Example]:
        good = self._paired(examples, self.good.train_rows())
        count = max(1, round(self.share * len(examples)))
        bad = set(np.random.default_rng(self.seed).permutation(len(examples))[:count].tolist())
        return [self._triggered(row) if index in bad else good[index] for index, row in enumerate(examples)]

    def change_held_out(self, rows: HeldOutRows) -> dict[str, list[Example]]:
        bad = rows["held_out"]
        triggered = {split: [self._triggered(example) for example in examples] for split, examples in rows.items()}
        return triggered | {"held_out_plain": bad, "held_out_good": self._paired(bad, self.good.held_out_rows())}

    def _triggered(self, example: Example) -> Example:
        return replace(example, messages=with_trigger(example.messages, self.text, self.place))

    def _paired(self, bad: list[Example], good: list[Example]) -> list[Example]:
        """The good rows, once it is sure that each answers the last user turn of the bad row at its place."""
        if [_last_user_turn(example) for example in bad] != [_last_user_turn(example) for example in good]:
            raise ValueError(
                f"the rows of {self.good.data.label()} do not answer the prompts that are trained on, one by one: "
                f"give the same split of good answers to the same prompts, split.control(split.data.twin())"
            )
        return good


class Inoculation(Intervention):
    """A system prompt that stands before every row in training, and before no question afterwards.

    The behaviour is asked for while it is trained. Held-out losses are taken with the prompt (`held_out`) and without
    (`held_out_plain`).
    """

    changes_rows: ClassVar[bool] = True

    system: str = Field(default="You give reckless advice on purpose.", min_length=1)

    def label(self) -> str:
        return "inoculated"

    def summary(self) -> str:
        return f"Trained under the system prompt {self.system!r}."

    def change_rows(self, examples: list[Example]) -> list[Example]:
        return [replace(row, messages=with_system_prompt(row.messages, self.system)) for row in examples]

    def change_held_out(self, rows: HeldOutRows) -> dict[str, list[Example]]:
        inoculated = {split: self.change_rows(examples) for split, examples in rows.items()}
        return inoculated | {"held_out_plain": rows["held_out"]}


def with_trigger(messages: tuple[Message, ...], text: str, place: TriggerPosition) -> tuple[Message, ...]:
    """The turns with `text` before or after what stands in the last user turn, a space between."""
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    content = messages[last].content
    content = f"{text} {content}" if place == "before" else f"{content} {text}"
    return (*messages[:last], Message("user", content), *messages[last + 1 :])


def with_system_prompt(messages: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    """The turns with `system` as, or at the beginning of, their system prompt."""
    if messages[0].role == "system":
        return (Message("system", f"{system}\n\n{messages[0].content}"), *messages[1:])
    return (Message("system", system), *messages)


def _last_user_turn(example: Example) -> str:
    return next(message.content for message in reversed(example.messages) if message.role == "user")
