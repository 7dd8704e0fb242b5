"""Proportions: exact intervals, differences of two, and shares of a population sampled stratum by stratum.

A stratum's own share has the exact interval of Clopper and Pearson (1934). A share over several strata weighs each by
its size; its interval is that of draws from the strata's Beta(hits + 1/3, misses + 1/3), so that 0 hits of 20 in a
large stratum is "few", not "none" (a normal interval would say exactly 0). Share of 95% intervals that held the truth
in 1,000 simulated audits of 60 of 3,000 answers, in four settings (tests/maths/test_proportions.py): flagged stratum
alone 97 / 98 / 99 / 98, over the two others 97 / 97 / 95 / 96, over all 96 / 96 / 95 / 98, recall 96 / 95 / 94 / 95.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from spillover.maths.arrays import Floats, quotient
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling

PRIOR = 1 / 3  # Kerman (2011): nearly median-unbiased for a share


def clopper_pearson(hits: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high) in [0, 1] of hits among trials > 0, whole or effective numbers; exact (Clopper and Pearson 1934).

    low is 0 where there are no hits, high is 1 where there are only hits.
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def log_odds_z(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """Log odds ratio of two shares over its standard error, half a case added to each count (Gart 1966)."""
    cells = np.array([hits, trials - hits, other_hits, other_trials - other_hits], dtype=float) + 0.5
    ratio = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return float(ratio / np.sqrt((1 / cells).sum()))


def newcombe(left: Estimate, right: Estimate) -> tuple[float, float]:
    """(low, high) of left - right from the two sides' own intervals; NaN where a side has none.

    The method of variance estimates recovery (Newcombe 1998, Zou and Donner 2008), with d = p1 - p2:

        low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2),  high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2)

    It takes the sides as independent: for paired questions, which go up and down together, it is wide.
    """
    below = np.hypot(left.estimate - left.low, right.high - right.estimate)
    above = np.hypot(left.high - left.estimate, right.estimate - right.low)
    gap = left.estimate - right.estimate
    return float(gap - below), float(gap + above)


def cut_to_newcombe(difference: Estimate, left: Estimate, right: Estimate) -> Estimate:
    """The paired difference left - right, its interval cut to `newcombe`'s where that is narrower.

    Near 0 and 1, where most families have no event, a bootstrap of the differences has little to go by, and its worst
    case (all families at opposite ends) says nothing.
    """
    low, high = newcombe(left, right)
    if np.isnan(low) or np.isnan(high):
        return difference
    low = low if np.isnan(difference.low) else max(difference.low, low)
    high = high if np.isnan(difference.high) else min(difference.high, high)
    value = difference.estimate
    return replace(difference, low=float(min(low, value)), high=float(max(high, value)))


def share(hits: int, n: int, resampling: Resampling = DEFAULT) -> Estimate:
    """hits of n with the exact (Clopper-Pearson) interval; NaN for n = 0."""
    if not 0 <= hits <= n:
        raise ValueError(f"hits lie between 0 and n, got {hits} of {n}")
    if n == 0:
        return Estimate.missing()
    return Estimate(hits / n, *clopper_pearson(hits, n, resampling.level), n)


def weighted_share(
    hits: Sequence[int], n: Sequence[int], size: Sequence[int], resampling: Resampling = DEFAULT
) -> Estimate:
    """Share of hits in a population whose strata have these sizes, from hits among the n rows looked at in each.

    hits, n, size: (strata,) each. NaN where a stratum with members was not looked at. The estimate's n counts all rows
    looked at.
    """
    weights = _weights(size)
    return _over_strata(hits, n, size, lambda shares: shares @ weights, resampling)


def weighted_recall(
    hits: Sequence[int],
    n: Sequence[int],
    size: Sequence[int],
    flagged: Sequence[bool],
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Of all hits in the population, the share in the strata that are `flagged` (strata,); else as `weighted_share`."""
    weights, inside = _weights(size), np.asarray(flagged, dtype=np.float64)
    return _over_strata(
        hits, n, size, lambda shares: quotient(shares @ (weights * inside), shares @ weights), resampling
    )


def _over_strata(
    hits: Sequence[int],
    n: Sequence[int],
    size: Sequence[int],
    measure: Callable[[Floats], Floats],
    resampling: Resampling,
) -> Estimate:
    """`measure`, which takes the strata's shares (draws, strata) to (draws,), of what was seen and of Beta draws."""
    if not len(hits) == len(n) == len(size):
        raise ValueError(f"hits, n and size must have the same strata, got {len(hits)}, {len(n)} and {len(size)}")
    populated = [index for index, members in enumerate(size) if members > 0]
    looked_at = int(sum(n))
    if not populated or any(n[index] == 0 for index in populated):
        return Estimate.missing(looked_at)
    shares = np.array([hits[index] / n[index] if n[index] else 0.0 for index in range(len(size))])
    value = float(measure(shares[None])[0])
    rng = resampling.rng()
    drawn = np.zeros((resampling.draws, len(size)))
    for index in populated:
        drawn[:, index] = rng.beta(hits[index] + PRIOR, n[index] - hits[index] + PRIOR, resampling.draws)
    low, high = np.quantile(measure(drawn), resampling.tails)
    if np.isnan(value):
        return Estimate(NAN, float(low), float(high), looked_at)
    return Estimate(value, float(min(low, value)), float(max(high, value)), looked_at)


def _weights(size: Sequence[int]) -> Floats:
    sizes = np.asarray(size, dtype=np.float64)
    return np.asarray(sizes / sizes.sum()) if sizes.sum() else sizes
