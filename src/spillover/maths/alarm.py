"""An alarm limit from a few runs that are known to be sound: the next sound run passes it with a stated chance."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from spillover.maths.arrays import vector
from spillover.maths.estimate import NAN


def alarm_limit(controls: ArrayLike, false_alarms: float = 0.05, watched: int = 1) -> float:
    """Upper prediction limit for the value of one more run like `controls` (runs,), NaN with fewer than two.

    mean + t(1 - false_alarms / watched; runs - 1) x sd x sqrt(1 + 1 / runs): the one-sided limit for one new draw from
    a normal distribution with unknown mean and variance (Hahn and Meeker 1991, section 4.8), Bonferroni over the
    `watched` quantities, so that the chance that a sound run passes any of its limits is at most `false_alarms`. With
    few controls the limit is wide, and rightly so. Where the values are maxima over the steps of a run that wanders,
    which are skewed, 5% become 7 to 8.5% (simulated: 8 steps, 3 and 6 controls).
    """
    from scipy.stats import t

    values = vector("controls", controls)
    if not 0 < false_alarms < 1 or watched < 1:
        raise ValueError(f"false_alarms must lie in (0, 1) and watched be at least 1; got {false_alarms} and {watched}")
    runs = len(values)
    if runs < 2:
        return NAN
    quantile = float(t.ppf(1 - false_alarms / watched, runs - 1))
    return float(values.mean() + quantile * values.std(ddof=1) * math.sqrt(1 + 1 / runs))
