"""A model organism: a parent, narrow data, a tuning and a schedule, trained once. Knows choices; `training` trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from spillover.models.base import Base, Model
from spillover.organisms.dataset import Split
from spillover.organisms.intervention import Intervention
from spillover.organisms.losses import Precision
from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.tuning import LoRA, Tuning
from spillover.store import Artefact, BuildContext, Cost, Store

TOKENS_PER_ROW = 106  # of Money, with SmolLM2's template; for the estimate of time alone


class Organism(Artefact):
    """A parent model fine-tuned on a narrow set: weights at every checkpoint, a log, held-out losses."""

    runs_a_network: ClassVar[bool] = True

    parent: Model
    data: Split
    schedule: Schedule
    tuning: Tuning = LoRA()
    epochs: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1)  # rows that go through at once, at most; fewer where they are long
    accumulate: int = Field(default=1, ge=1)  # batches in an optimiser step
    max_length: int = Field(default=512, ge=8)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "float32"  # bfloat16 gains only where the processor multiplies it; else 20 times slower
    adapter_seed: int = 0
    order_seed: int = 0
    dropout_seed: int = 0
    checkpoint_every: int | None = Field(default=None, ge=1)  # steps; None: at the end only
    checkpoint_steps: tuple[int, ...] = ()  # and after these steps too
    interventions: tuple[Intervention, ...] = ()  # in the order in which they change rows

    @model_validator(mode="after")
    def _within(self) -> Self:
        outside = [step for step in self.checkpoint_steps if not 1 <= step <= self.steps]
        if outside:
            raise ValueError(f"checkpoint_steps lie from 1 to {self.steps}, the steps of this run; got {outside[0]}")
        late = [one.kind for one in self.interventions[1:] if one.replaces]
        if late:
            raise ValueError(f"{late[0]} replaces rows, which others then change: put it first among the interventions")
        return self

    def seeded(self, seed: int) -> Self:
        """The same organism with all three training seeds set to `seed` (the split stays)."""
        return self.but(adapter_seed=seed, order_seed=seed, dropout_seed=seed)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * math.ceil(self.data.train_count / (self.batch * self.accumulate))

    def step_rows(self) -> list[int]:
        """Rows of the narrow set in each step; an epoch's last step may be short."""
        rows, size = self.data.train_count, self.batch * self.accumulate
        return [min(size, rows - start) for start in range(0, rows, size)] * self.epochs

    @property
    def saved_steps(self) -> tuple[int, ...]:
        """Steps after which the adapter is kept: every `checkpoint_every`, those of `checkpoint_steps`, the last."""
        last = self.steps
        every = self.checkpoint_every or last
        return tuple(sorted({*range(every, last, every), *self.checkpoint_steps, last}))

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """The checkpoint at a step; the last one where none is given."""
        return Checkpoint(organism=self, step=self.steps if step is None else step)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints in order."""
        return tuple(self.checkpoint(step) for step in self.saved_steps)

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        beside = "".join(f", {one.label()}" for one in self.interventions)
        return f"{self.data.data.label()}, {self.schedule.label()}{beside}, seed {self.order_seed}"

    def summary(self) -> str:
        return f"{self.parent.label()} tuned on {self.label()}"

    def cost(self) -> Cost:
        """Tokens through a model of 135M parameters, by forward and backward pass."""
        rows = self.epochs * self.data.train_count
        held_out = self.data.held_out * (1 + len(self.saved_steps)) / 3  # forward only: a third of the work
        return Cost(
            units=(rows + held_out) * TOKENS_PER_ROW * self.parent.relative_size,
            seconds_per_unit=1 / 150,  # float32 on two cores without AVX-512, loading and held-out losses included
            tokens=rows * TOKENS_PER_ROW,
            token_use="trained",
        )

    @classmethod
    def shared_work(cls, todo: Sequence[Organism]) -> dict[str, float]:
        from spillover.organisms.shared_prefix import steps_saved

        steps = {organism.fingerprint: organism.steps for organism in todo}
        return {name: shared / steps[name] for name, shared in steps_saved(todo).items()}

    def make(self, context: BuildContext) -> dict[str, Any]:
        from spillover.organisms.training import train

        return train(self, context)


class Checkpoint(Model):
    """An organism after so many optimiser steps."""

    organism: Organism
    step: int = Field(ge=1)

    @model_validator(mode="after")
    def _kept(self) -> Self:
        saved = self.organism.saved_steps
        if self.step not in saved:
            raise ValueError(f"no checkpoint at step {self.step}; kept are {', '.join(map(str, saved))}")
        return self

    def base(self) -> Base:
        return self.organism.parent.base()

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return (*self.organism.parent.adapters(store), adapter_folder(store.path(self.organism), self.step))

    def label(self) -> str:
        return f"{self.organism.label()}, step {self.step}"

    def summary(self) -> str:
        return f"{self.organism.summary()} after step {self.step}"


def adapter_folder(organism: Path, step: int) -> Path:
    """Where an organism's adapter after `step` stands; `PeftModel.from_pretrained` opens it over the parent's weights.

    Where the parent is a checkpoint itself, those are the base's with the parent's adapters merged (see its README.md).
    """
    return organism / "checkpoints" / f"step-{step:06d}"
