"""What a schedule is: a number over training, known before training. Knows no trainer and no torch."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from pydantic import Field

from spillover.spec import Spec

Rates = np.ndarray  # (total,) float64: the learning rate of each optimiser step


class Schedule(Spec):
    """A learning rate as a pure function of (step, total). `peak` is the largest rate it reaches after warm-up."""

    @abstractmethod
    def rate(self, step: int, total: int) -> float:
        """The learning rate of optimiser step `step` (from 0) of `total`."""

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        return self.kind.lower()

    def rates(self, total: int) -> Rates:
        """All learning rates of a run of `total` steps, shape (total,)."""
        if total < 1:
            raise ValueError(f"a run has at least 1 step, got {total}")
        return np.array([self.rate(step, total) for step in range(total)], dtype=np.float64)


class Warmed(Schedule):
    """A schedule that climbs linearly from 0 over `warmup` steps, then follows `shape`, as in transformers."""

    peak: float = Field(gt=0)
    warmup: int = Field(default=5, ge=0)

    @abstractmethod
    def shape(self, progress: float) -> float:
        """The share of the peak at `progress` in [0, 1) of the steps after warm-up."""

    def rate(self, step: int, total: int) -> float:
        if step < self.warmup:
            return self.peak * step / self.warmup
        return self.peak * self.shape((step - self.warmup) / max(1, total - self.warmup))
