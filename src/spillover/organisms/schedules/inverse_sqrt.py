"""The inverse square root schedule."""

import math

from pydantic import Field

from spillover.organisms.schedule import Schedule


class InverseSqrt(Schedule):
    """Up to the peak over `warmup` steps, then down with one over the square root of the step, never to 0."""

    warmup: int = Field(default=5, ge=0)  # steps; the first of them has rate 0
    timescale: int | None = Field(default=None, ge=1)  # steps after warm-up that bring it to 0.7; None: the warm-up's

    def rate(self, step: int, total: int) -> float:
        if step < self.warmup:
            return self.peak * step / self.warmup
        scale = self.timescale or self.warmup or 10_000  # as in transformers
        return self.peak / math.sqrt((step + scale - self.warmup) / scale)
