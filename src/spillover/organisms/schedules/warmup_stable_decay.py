"""The warmup-stable-decay schedule."""

import math
from typing import Literal

from pydantic import Field

from spillover.organisms.schedule import Schedule


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
