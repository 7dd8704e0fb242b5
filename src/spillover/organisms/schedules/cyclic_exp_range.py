"""The cyclic schedule with triangles that shrink at every step."""

from pydantic import Field

from spillover.organisms.schedule import Cyclic


class CyclicExpRange(Cyclic):
    """Triangles between a floor and the peak whose height shrinks by a factor gamma at every step."""

    gamma: float = Field(default=0.95, gt=0, le=1)

    def scale(self, step: int, cycle: int) -> float:
        return float(self.gamma**step)
