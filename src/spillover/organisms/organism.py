"""A model organism: a parent, narrow data, a tuning and a schedule, trained once; and its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from spillover.models.base import Model
from spillover.organisms.fine_tuned import FineTuned
from spillover.organisms.resume import steps_saved
from spillover.organisms.training import train
from spillover.organisms.training_spec import TrainingSpec, adapter_folder
from spillover.organisms.tuning import LoRA
from spillover.records import read_table
from spillover.store import BuildContext, Store


class Organism(TrainingSpec):
    """A parent model fine-tuned on a narrow set: weights at every checkpoint, a log, held-out losses."""

    def checkpoint(self, step: int | None = None) -> Checkpoint:
        """The checkpoint at a step; the last one where none is given."""
        return Checkpoint(organism=self, step=self.steps if step is None else step)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """All checkpoints in order."""
        return tuple(self.checkpoint(step) for step in self.saved_steps)

    def value(self, store: Store) -> TrainedOrganism:
        """Its checkpoints' folders, log and held-out losses."""
        folder = store.path(self)
        steps = {step: adapter_folder(folder, step) for step in self.saved_steps}
        return TrainedOrganism(
            self.label(), steps, read_table(folder / "log.parquet"), read_table(folder / "losses.parquet")
        )

    @classmethod
    def shared_work(cls, todo: Sequence[Self]) -> dict[str, float]:
        steps = {organism.fingerprint: organism.steps for organism in todo}
        return {name: shared / steps[name] for name, shared in steps_saved(todo).items()}

    def make(self, context: BuildContext) -> dict[str, object]:
        return train(self, context)


@dataclass(frozen=True)
class TrainedOrganism:
    """What is there of an organism once it is made."""

    label: str
    checkpoints: dict[int, Path]  # by step: a folder that peft opens (or whole weights)
    log: pa.Table  # a row a step: loss, learning_rate, grad_norm
    losses: pa.Table  # a row a step and held-out sequence: its mean token loss

    @property
    def adapter(self) -> Path:
        """The folder of the last checkpoint."""
        return self.checkpoints[max(self.checkpoints)]

    def __repr__(self) -> str:
        last = self.log.slice(len(self.log) - 1).to_pylist()[0]
        return f"<organism {self.label}: {last['step']} steps, training loss {last['loss']:.3f}, {self.adapter}>"


class Checkpoint(FineTuned):
    """An organism after so many optimiser steps."""

    organism: Organism
    step: int = Field(ge=1)

    @model_validator(mode="after")
    def _saved(self) -> Self:
        saved = self.organism.saved_steps
        if self.step not in saved:
            raise ValueError(f"no checkpoint at step {self.step}; kept are {', '.join(map(str, saved))}")
        return self

    @property
    def trained_from(self) -> Model:
        return self.organism.parent

    @property
    def only_lora(self) -> bool:
        tuning = self.organism.tuning
        return isinstance(tuning, LoRA) and not tuning.dora

    def tuning_text(self) -> str:
        return self.organism.tuning.description()

    def folder(self, store: Store) -> Path:
        """Where its adapter, or its weights, stand once the organism is made."""
        return adapter_folder(store.path(self.organism), self.step)

    def label(self) -> str:
        return f"{self.organism.label()}, step {self.step}"

    def labels(self) -> dict[str, Any]:
        return super().labels() | {"data": self.organism.data.label(), "step": self.step}

    def summary(self) -> str:
        return f"{self.organism.summary()} after step {self.step}"
