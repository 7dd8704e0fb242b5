"""Textbook statistics as released code prints them, to check printed numbers against.

For inference use `spillover.maths.correlation` (intervals, permutation tests): these hold for normal data, or are
conventions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, vector
from spillover.maths.estimate import NAN


def pearson_normal(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Pearson's r of (n,) x and y without missing values, and its two-sided p if both are normal and unrelated.

    (r, p) as scipy's pearsonr; NaN where there are fewer than 3 rows or a side does not vary.
    """
    a = vector("x", x)
    b = vector("y", y, len(a))
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("x or y lacks values; leave rows that lack either out of both first")
    flat = [float(np.ptp(side)) <= 1e-13 * float(np.abs(side).max(initial=0.0)) for side in (a, b)]
    if len(a) < 3 or any(flat):
        return NAN, NAN
    a, b = a - a.mean(), b - b.mean()
    r = float(np.clip(a / np.linalg.norm(a) @ (b / np.linalg.norm(b)), -1.0, 1.0))
    return r, float(two_sided_r(r, np.array(len(a))))


def two_sided_r(r: float, n: np.ndarray) -> Floats:
    """Two-sided p of Pearson's r over each number of rows in n, any shape, if both sides are normal and unrelated."""
    from scipy.stats import beta

    return np.asarray(2 * beta.sf(abs(r), n / 2 - 1, n / 2 - 1, loc=-1, scale=2))


def lower_median(values: ArrayLike) -> float:
    """The middle value, of two the lower (as torch; numpy takes their mean); NaN for none, or where one is missing."""
    v = vector("values", values)
    if len(v) == 0 or np.isnan(v).any():
        return NAN
    return float(np.sort(v)[(len(v) - 1) // 2])


def two_sided_t(t: float, freedom: float, cancelling: bool = False) -> float:
    """Two-sided p of Student's t, right down to 1e-300; NaN where t is.

    cancelling: as 2 (1 - cdf), which is 0 below 1e-16: what code prints that subtracts from 1.
    """
    from scipy.stats import t as student

    return float(2 * (1 - student.cdf(abs(t), freedom)) if cancelling else 2 * student.sf(abs(t), freedom))
