"""The cyclic schedule with triangles that halve."""

from spillover.organisms.schedule import Cyclic


class CyclicTriangular2(Cyclic):
    """Triangles between a floor and the peak, each half as high as the one before."""

    def scale(self, step: int, cycle: int) -> float:
        return float(0.5 ** (cycle - 1))
