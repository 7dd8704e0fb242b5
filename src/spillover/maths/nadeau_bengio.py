"""Intervals and tests for repeated cross-validation scores. Knows scores per fold, not what was fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats
from spillover.maths.estimate import NAN, Estimate


def corrected_interval(
    scores: ArrayLike, test_share: float, level: float = 0.95, null: float | None = None
) -> Estimate:
    """Mean score over all repeats and folds with the corrected resampled t interval (Nadeau-Bengio 2003).

    scores: any shape, one a train/test split, NaN where a fold had no score. test_share: test rows / training
    rows (1/4 for 5 folds). Variance = s^2 (1/J + test_share), J - 1 degrees of freedom: training sets
    overlap, so the J scores are far from J independent ones. n is J. `null` adds a two-sided p against that
    score.
    """
    if not test_share > 0:
        raise ValueError(f"test_share is test rows / training rows, above 0, got {test_share}; for 5 folds pass 0.25")
    values = np.asarray(scores, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Estimate.missing(tested=null is not None)
    spread = float(values.std(ddof=1)) if len(values) > 1 else NAN
    return interval_from_summary(float(values.mean()), spread, len(values), test_share, level, null)


def interval_from_summary(
    mean: float, spread: float, count: int, test_share: float, level: float = 0.95, null: float | None = None
) -> Estimate:
    """`corrected_interval` from the scores' mean and SD (ddof 1) over `count` splits, as tables print them."""
    from scipy.stats import t

    centre = float(mean)
    if count < 2 or np.isnan(spread):
        return Estimate(centre, NAN, NAN, count, None if null is None else NAN)
    error = float(np.sqrt(spread**2 * (1 / count + test_share)))
    reach = float(t.ppf((1 + level) / 2, count - 1)) * error
    if null is None:
        return Estimate(centre, centre - reach, centre + reach, count)
    if error <= 1e-14 * max(1.0, abs(centre)):
        return Estimate(centre, centre, centre, count, 1.0 if centre == null else NAN)
    return Estimate(
        centre, centre - reach, centre + reach, count, float(2 * t.sf(abs(centre - null) / error, count - 1))
    )


def corrected_difference(scores_a: ArrayLike, scores_b: ArrayLike, test_share: float, level: float = 0.95) -> Estimate:
    """Mean of a - b over the same splits, with the corrected interval and p against no difference."""
    a: Floats = np.asarray(scores_a, dtype=np.float64)
    b: Floats = np.asarray(scores_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"both need one score a split of the same folds, got shapes {a.shape} and {b.shape}")
    return corrected_interval(a - b, test_share, level, null=0.0)
