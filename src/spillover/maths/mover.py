"""A difference of two shares that cannot claim more than the two shares' own intervals allow. Knows Estimates alone.

Near 0 and 1, where most families have no event, a bootstrap of the differences has little to go by and its worst case
(all families at opposite ends) says nothing. The method of variance estimates recovery (Newcombe 1998, Zou and Donner
2008) builds the difference's interval from the two sides' own:

    low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2),  high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2)

It takes the sides as independent: for paired questions, which go up and down together, it is wide.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spillover.maths.estimate import Estimate


def recovered(left: Estimate, right: Estimate) -> tuple[float, float]:
    """(low, high) of left - right from their intervals; NaN where a side has none."""
    low = np.hypot(left.estimate - left.low, right.high - right.estimate)
    high = np.hypot(left.high - left.estimate, right.estimate - right.low)
    gap = left.estimate - right.estimate
    return float(gap - low), float(gap + high)


def within(difference: Estimate, left: Estimate, right: Estimate) -> Estimate:
    """The paired difference with its interval cut to the one recovered from both sides, where that is narrower."""
    low, high = recovered(left, right)
    if np.isnan(low) or np.isnan(high):
        return difference
    ends = (
        low if np.isnan(difference.low) else max(difference.low, low),
        high if np.isnan(difference.high) else min(difference.high, high),
    )
    return replace(
        difference, low=float(min(ends[0], difference.estimate)), high=float(max(ends[1], difference.estimate))
    )
