"""What a schedule is: a number for each step of a training, known before it begins."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.spec import Spec, kinds_of, part_named, typed_name

SHARE_OF_WARMUP, STEPS_OF_CYCLE = 3, 2  # at most a third of the steps; at least two steps a cycle
LearningRates = np.ndarray  # (total,) float64: the learning rate of each optimiser step


class Schedule(Spec):
    """A learning rate as a pure function of (step, total). Every kind can be built from `peak` alone.

    It drives other numbers over training too, such as a share of rows or the weight of a penalty: `peak` is then the
    largest of these.
    """

    peak: float = Field(gt=0)  # the largest rate that it can reach

    @abstractmethod
    def rate(self, step: int, total: int) -> float:
        """The learning rate of optimiser step `step` (from 0) of `total`."""

    def rates(self, total: int) -> LearningRates:
        """All learning rates of a run of `total` steps, shape (total,)."""
        if total < 1:
            raise ValueError(f"a run has at least 1 step, got {total}")
        return np.array([self.rate(step, total) for step in range(total)], dtype=np.float64)

    def fit_steps(self, total: int) -> Self:
        """The same schedule as a run of `total` steps has room for, so that it reaches its peak and shows its shape.

        Warm-up takes at most a third of the steps, and a cycle at least two; nothing else changes.
        """
        counts: dict[str, object] = {}
        warmup, cycles = getattr(self, "warmup", 0), getattr(self, "cycles", None)
        if warmup > total // SHARE_OF_WARMUP:
            counts["warmup"] = warmup = total // SHARE_OF_WARMUP
        if cycles is not None and cycles > max(1, (total - warmup) // STEPS_OF_CYCLE):
            counts["cycles"] = max(1, (total - warmup) // STEPS_OF_CYCLE)
        return self.but(**counts) if counts else self

    def label(self) -> str:
        """A short name for tables and figures, and the one `schedule_named` takes; not an identity."""
        return typed_name(self.kind)


class Warmed(Schedule):
    """A schedule that climbs linearly from 0 over `warmup` steps, then follows `shape`, as in transformers."""

    warmup: int = Field(default=5, ge=0)  # steps; the first of them has rate 0

    @abstractmethod
    def shape(self, progress: float) -> float:
        """The share of the peak at `progress` in [0, 1) of the steps after warm-up."""

    def rate(self, step: int, total: int) -> float:
        if step < self.warmup:
            return self.peak * step / self.warmup
        return self.peak * self.shape((step - self.warmup) / max(1, total - self.warmup))


class Cyclic(Schedule):
    """A schedule of `cycles` triangles between `floor` and `peak` (Smith 2017), as torch's CyclicLR; no warm-up.

    A half cycle is total // (2 * cycles) steps, so the steps that remain begin one more cycle. Published pairs
    (floor, peak): (1e-6, 2e-5), (1e-5, 5e-5), (2e-5, 8e-5), (4e-5, 1e-4), with 4 cycles.
    """

    floor: float = Field(default=0.0, ge=0)
    cycles: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.floor > self.peak:
            raise ValueError(f"floor {self.floor:g} lies above peak {self.peak:g}")
        return self

    @abstractmethod
    def scale(self, step: int, cycle: int) -> float:
        """The share of the full height that a triangle has at `step` (from 0), in `cycle` (from 1)."""

    def rate(self, step: int, total: int) -> float:
        half = max(1, total // (2 * self.cycles))
        cycle = math.floor(1 + step / (2 * half))
        height = max(0.0, 1.0 - abs(step / half - 2 * cycle + 1))
        return self.floor + (self.peak - self.floor) * height * self.scale(step, cycle)


def schedule_named(name: str, **fields: Any) -> Schedule:
    """The schedule that a user names (`linear`, `cosine-restarts`, `cyclic-triangular2`, ...) with these fields.

    `warmup` is left out for those that have none (cyclic ones).
    """
    kinds = {typed_name(kind): cls for kind, cls in kinds_of(Schedule).items()}
    cls = part_named("schedule", name, kinds)
    if "warmup" not in cls.model_fields:
        fields.pop("warmup", None)
    schedule = cls(**fields)
    assert isinstance(schedule, Schedule)
    return schedule
