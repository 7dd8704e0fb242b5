"""Textbook statistics as released code prints them, to check printed numbers against. Knows numbers only.

For inference use `correlation` (intervals, permutation tests): these hold for normal data, or are conventions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import vector
from spillover.maths.estimate import NAN


def pearson_normal(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Pearson's r of (n,) x and y without missing values, and its two-sided p if both are normal and unrelated.

    (r, p) as scipy's pearsonr; NaN where there are fewer than 3 rows or a side does not vary.
    """
    from scipy.stats import beta

    a = vector("x", x)
    b = vector("y", y, len(a))
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("x or y lacks values; leave rows that lack either out of both first")
    n = len(a)
    flat = [float(np.ptp(side)) <= 1e-13 * float(np.abs(side).max(initial=0.0)) for side in (a, b)]
    if n < 3 or any(flat):
        return NAN, NAN
    a, b = a - a.mean(), b - b.mean()
    r = float(np.clip(a / np.linalg.norm(a) @ (b / np.linalg.norm(b)), -1.0, 1.0))
    return r, float(2 * beta.sf(abs(r), n / 2 - 1, n / 2 - 1, loc=-1, scale=2))


def lower_median(values: ArrayLike) -> float:
    """The middle value, of two the lower (as torch; numpy takes their mean); NaN for none, or where one is missing."""
    v = vector("values", values)
    if len(v) == 0 or np.isnan(v).any():
        return NAN
    return float(np.sort(v)[(len(v) - 1) // 2])


def two_sided_t_cancelling(t: float, freedom: float) -> float:
    """The same as 2 (1 - cdf): what code prints that subtracts from 1. Only to recognise it by."""
    from scipy.stats import t as student

    return NAN if math.isnan(t) else float(2 * (1 - student.cdf(abs(t), freedom)))


def two_sided_t(t: float, freedom: float) -> float:
    """Two-sided p of Student's t, right down to 1e-300 (2 (1 - cdf) is 0 below 1e-16); NaN where t is."""
    from scipy.stats import t as student

    return NAN if math.isnan(t) else float(2 * student.sf(abs(t), freedom))
