"""The constant schedule."""

from spillover.organisms.schedule import Warmed


class Constant(Warmed):
    """The peak learning rate at every step after warm-up."""

    def shape(self, progress: float) -> float:
        return 1.0
