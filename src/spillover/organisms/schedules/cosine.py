"""The cosine schedule."""

import math

from spillover.organisms.schedule import Warmed


class Cosine(Warmed):
    """Half a cosine wave from the peak down to 0."""

    def shape(self, progress: float) -> float:
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
