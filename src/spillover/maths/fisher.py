"""Intervals for a correlation by a jackknife of Fisher's z = arctanh(r). Knows correlations only."""

from __future__ import annotations

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.estimate import NAN


def jackknife_error(deleted: Floats) -> float:
    """Standard error of z from the correlations with each unit left out, (units,); NaN where it has none.

    That is with fewer than 4 units, or where without some unit the correlation is undefined or +-1: then it
    hangs on that unit alone.
    """
    if len(deleted) < 4 or np.isnan(deleted).any() or (np.abs(deleted) > 1 - 1e-12).any():
        return NAN
    z = np.arctanh(deleted)
    return float(np.sqrt((len(z) - 1) / len(z) * ((z - z.mean()) ** 2).sum()))


def z_interval(r: float, error: float, freedom: int, level: float = 0.95) -> tuple[float, float, float]:
    """(low, high, p): tanh(z -+ t error), Student's t on `freedom` degrees; p two-sided against r = 0.

    NaN where r is +-1 or the error is NaN or nothing.
    """
    from scipy.stats import t

    if not error > 1e-14 or not abs(r) < 1 - 1e-12 or freedom < 1:
        return NAN, NAN, NAN
    z, reach = float(np.arctanh(r)), float(t.ppf((1 + level) / 2, freedom)) * error
    return float(np.tanh(z - reach)), float(np.tanh(z + reach)), float(2 * t.sf(abs(z) / error, freedom))
