"""The linear schedule."""

from spillover.organisms.schedule import Warmed


class Linear(Warmed):
    """A straight line from the peak down to 0: the published main schedule."""

    def shape(self, progress: float) -> float:
        return max(0.0, 1.0 - progress)
