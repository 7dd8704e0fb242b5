"""The cosine schedule with hard restarts."""

import math

from pydantic import Field

from spillover.organisms.schedule import Warmed


class CosineRestarts(Warmed):
    """`cycles` half cosine waves, each from the peak down to 0, with a jump back between them."""

    cycles: int = Field(default=4, ge=1)

    def shape(self, progress: float) -> float:
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((self.cycles * progress) % 1.0))))
