"""When along training a score changes: the step of half its change, and the sharpest single change. Knows no model.

Both are read off few checkpoints, so both come with what resampling families of questions makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, codes, matrix, vector
from spillover.maths.bootstrap import DEFAULT, Resampling, resampling_counts
from spillover.maths.estimate import NAN, Estimate


@dataclass(frozen=True)
class Onset:
    """half: step at which half of the whole change is done. change: between which steps the mean changes most sharply.

    Each with a percentile interval over families (steps; NaN where the trajectory does not move). support: (steps - 1,)
    share of draws whose sharpest change is between each step and the next; sums to 1.
    """

    half: Estimate
    change: Estimate
    support: Floats


def onset(steps: ArrayLike, scores: ArrayLike, families: ArrayLike | None = None, how: Resampling = DEFAULT) -> Onset:
    """From scores (steps, questions), NaN where unscored; families (questions,) are resampled whole.

    half: linear between checkpoints, on the mean over questions. change: the midpoint of the two steps around the
    split that leaves the least squares about two levels, one before and one after. n counts questions that are scored
    at every step.
    """
    x = vector("steps", steps)
    values = matrix("scores", scores, missing=True)
    if len(values) != len(x) or (np.diff(x) <= 0).any() or len(x) < 3:
        raise ValueError(f"scores must have one row for each of at least 3 rising steps, got {x.tolist()}")
    keep = np.asarray(~np.isnan(values).any(axis=0))
    values = values[:, keep]
    n = values.shape[1]
    if n == 0:
        none = Estimate.missing(0)
        return Onset(none, none, np.full(len(x) - 1, NAN))
    labels = np.arange(len(keep)) if families is None else np.asarray(families)
    code, names = codes("families", labels[keep], n)
    picked = resampling_counts(len(names), how.draws, how.seed)[:, code]
    drawn = values @ (picked / picked.sum(axis=1, keepdims=True)).T  # (steps, draws)
    mean = values.mean(axis=1, keepdims=True)
    middles = (x[1:] + x[:-1]) / 2
    splits = _sharpest(drawn)
    support = np.bincount(splits, minlength=len(middles)) / how.draws
    half = _estimate(float(_half(x, mean)[0]), _half(x, drawn), n, how.level)
    change = _estimate(float(middles[_sharpest(mean)[0]]), middles[splits], n, how.level)
    return Onset(half, change, support)


def half_changes(steps: ArrayLike, scores: ArrayLike) -> Floats:
    """Step at which each question's score has done half of its change: (questions,) from scores (steps, questions).

    NaN where the first and last score are equal or missing.
    """
    return _half(vector("steps", steps), matrix("scores", scores, missing=True))


def _half(x: Floats, values: Floats) -> Floats:
    """First crossing of the middle between the first and last value, linear between steps: (columns,)."""
    whole = values[-1] - values[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        done = (values - values[0]) / whole  # 0 at the first step, 1 at the last
    found = np.full(values.shape[1], NAN)
    for step in range(len(x) - 1, 0, -1):
        with np.errstate(invalid="ignore"):
            here = (done[step] >= 0.5) & (done[step - 1] < 0.5)
        share = np.divide(0.5 - done[step - 1], done[step] - done[step - 1], out=np.zeros_like(found), where=here)
        found = np.where(here, x[step - 1] + share * (x[step] - x[step - 1]), found)
    return np.where(whole == 0, NAN, found)


def _sharpest(values: Floats) -> np.ndarray:
    """Index of the split with the least squares about two levels, for each column."""
    count = len(values)
    total = values.sum(axis=0)
    before = np.cumsum(values, axis=0)[:-1]
    sizes = np.arange(1, count)[:, None]
    between = before**2 / sizes + (total - before) ** 2 / (count - sizes)  # the larger, the less is left
    return np.asarray(np.argmax(between, axis=0))


def _estimate(value: float, drawn: Floats, n: int, level: float) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0 or not np.isfinite(value):
        return Estimate(value, NAN, NAN, n)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n)
