"""A schedule drawn by hand, as points."""

from bisect import bisect_right
from typing import Self

from pydantic import model_validator

from spillover.organisms.schedule import Schedule


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
