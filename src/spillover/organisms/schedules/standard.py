"""The schedules that ship: each a learning rate over the steps of a run; docs/training.md has their names."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Literal, Self

from pydantic import Field, model_validator

from spillover.organisms.schedules.schedule import Cyclic, Schedule, Warmed


class Constant(Warmed):
    """The peak learning rate at every step after warm-up."""

    def shape(self, progress: float) -> float:
        return 1.0


class Linear(Warmed):
    """A straight line from the peak down to 0: the published main schedule."""

    def shape(self, progress: float) -> float:
        return max(0.0, 1.0 - progress)


class Cosine(Warmed):
    """Half a cosine wave from the peak down to 0."""

    def shape(self, progress: float) -> float:
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


class CosineRestarts(Warmed):
    """`cycles` half cosine waves, each from the peak down to 0, with a jump back between them."""

    cycles: int = Field(default=4, ge=1)

    def shape(self, progress: float) -> float:
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((self.cycles * progress) % 1.0))))


class InverseSqrt(Schedule):
    """Up to the peak over `warmup` steps, then down with one over the square root of the step, never to 0."""

    warmup: int = Field(default=5, ge=0)  # steps; the first of them has rate 0
    timescale: int | None = Field(default=None, ge=1)  # steps after warm-up that bring it to 0.7; None: the warm-up's

    def rate(self, step: int, total: int) -> float:
        if step < self.warmup:
            return self.peak * step / self.warmup
        scale = self.timescale or self.warmup or 10_000  # as in transformers
        return self.peak / math.sqrt((step + scale - self.warmup) / scale)


class WarmupStableDecay(Schedule):
    """Up to the peak over `warmup` steps, level, then down to `floor` over the last `decay` of the run (Hu 2024)."""

    warmup: int = Field(default=5, ge=0)  # steps; the first of them has rate `floor`
    decay: float = Field(default=0.2, ge=0, le=1)  # share of the whole run's steps
    form: Literal["linear", "cosine", "1-sqrt"] = "linear"  # of the decay, as in transformers
    floor: float = Field(default=0.0, ge=0, lt=1)  # share of the peak

    def rate(self, step: int, total: int) -> float:
        falling = min(round(self.decay * total), max(0, total - self.warmup))
        if step < self.warmup:
            return self._above_floor(step / self.warmup)
        if step < total - falling:
            return self.peak
        progress = (step - (total - falling)) / max(1, falling)
        if self.form == "linear":
            return self._above_floor(1.0 - progress)
        if self.form == "cosine":
            return self._above_floor(0.5 * (1.0 + math.cos(math.pi * progress)))
        return self._above_floor(1.0 - math.sqrt(progress))

    def _above_floor(self, share: float) -> float:
        return self.peak * (share * (1.0 - self.floor) + self.floor)


class Piecewise(Schedule):
    """Straight lines between (progress, share of the peak) points; level before the first and after the last.

    Progress is step / total, in [0, 1): the first step has 0. Of two points at one progress, the later holds from there
    on: a jump.
    """

    points: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.1, 1.0), (0.6, 1.0), (1.0, 0.0))

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        if not self.points:
            raise ValueError("points is empty: give at least one (progress, share of the peak)")
        outside = [point for point in self.points if not (0 <= point[0] <= 1 and 0 <= point[1] <= 1)]
        if outside:
            raise ValueError(f"a point is (progress, share of the peak), both from 0 to 1; got {outside[0]}")
        places = [place for place, _ in self.points]
        if places != sorted(places):
            raise ValueError(f"points go forward in progress; got {', '.join(f'{place:g}' for place in places)}")
        if not any(share for _, share in self.points):
            raise ValueError("every point has share 0: nothing would be trained")
        return self

    def rate(self, step: int, total: int) -> float:
        progress = step / total
        after = bisect_right(self.points, progress, key=lambda point: point[0])
        if after == 0 or after == len(self.points):
            return self.peak * self.points[max(0, after - 1)][1]
        (left, low), (right, high) = self.points[after - 1 : after + 1]
        return self.peak * (low + (high - low) * (progress - left) / (right - left))


class CyclicTriangular(Cyclic):
    """Triangles between a floor and the peak, all of one height."""

    def scale(self, step: int, cycle: int) -> float:
        return 1.0


class CyclicTriangular2(Cyclic):
    """Triangles between a floor and the peak, each half as high as the one before."""

    def scale(self, step: int, cycle: int) -> float:
        return float(0.5 ** (cycle - 1))


class CyclicExpRange(Cyclic):
    """Triangles between a floor and the peak whose height shrinks by a factor gamma at every step."""

    gamma: float = Field(default=0.95, gt=0, le=1)

    def scale(self, step: int, cycle: int) -> float:
        return float(self.gamma**step)
