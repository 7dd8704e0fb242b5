"""The exact interval of a share (Clopper and Pearson 1934). Knows counts, whole or effective.

A difference of two shares that cannot claim more than the two shares' own intervals allow. Knows Estimates alone.

Near 0 and 1, where most families have no event, a bootstrap of the differences has little to go by and its worst case
(all families at opposite ends) says nothing. The method of variance estimates recovery (Newcombe 1998, Zou and Donner
2008) builds the difference's interval from the two sides' own:

    low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2),  high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2)

It takes the sides as independent: for paired questions, which go up and down together, it is wide.

Shares of a population from a sample drawn stratum by stratum, some more densely than others. Knows counts only.

A stratum's own share has the exact interval of Clopper and Pearson. A share over several strata weighs each by its
size; its interval is that of draws from the strata's Beta(hits + 1/3, misses + 1/3), so that 0 hits of 20 in a large
stratum is "few", not "none" (a normal interval would say exactly 0). Share of 95% intervals that held the truth in
1,000 simulated audits of 60 of 3,000 answers, in four settings (tests/maths/test_stratified.py): flagged stratum alone
97 / 98 / 99 / 98, over the two others 97 / 97 / 95 / 96, over all 96 / 96 / 95 / 98, recall 96 / 95 / 94 / 95.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling


def clopper_pearson(hits: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high) in [0, 1] of hits among trials > 0; 0 and 1 are ends where there are no hits, or only hits."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def newcombe(left: Estimate, right: Estimate) -> tuple[float, float]:
    """(low, high) of left - right from their intervals; NaN where a side has none."""
    low = np.hypot(left.estimate - left.low, right.high - right.estimate)
    high = np.hypot(left.high - left.estimate, right.estimate - right.low)
    gap = left.estimate - right.estimate
    return float(gap - low), float(gap + high)


def cut_to_newcombe(difference: Estimate, left: Estimate, right: Estimate) -> Estimate:
    """The paired difference with its interval cut to the one recovered from both sides, where that is narrower."""
    low, high = newcombe(left, right)
    if np.isnan(low) or np.isnan(high):
        return difference
    ends = (
        low if np.isnan(difference.low) else max(difference.low, low),
        high if np.isnan(difference.high) else min(difference.high, high),
    )
    return replace(
        difference, low=float(min(ends[0], difference.estimate)), high=float(max(ends[1], difference.estimate))
    )


PRIOR = 1 / 3  # Kerman (2011): nearly median-unbiased for a share


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
    """Share of hits in a population of strata of these sizes, of which n were looked at, (strata,) each.

    NaN where a stratum with members was not looked at. n of the estimate counts those looked at.
    """
    weights = _weights(size)
    return _estimate(hits, n, size, lambda shares: shares @ weights, resampling)


def weighted_recall(
    hits: Sequence[int], n: Sequence[int], size: Sequence[int], found: Sequence[bool], resampling: Resampling = DEFAULT
) -> Estimate:
    """Of all hits in the population, the share that lies in the strata `found` (strata,); else as `weighted_share`."""
    weights, inside = _weights(size), np.asarray(found, dtype=np.float64)

    def ratio(shares: Floats) -> Floats:
        whole = shares @ weights
        return np.asarray(
            np.divide(shares @ (weights * inside), whole, out=np.full_like(whole, np.nan), where=whole > 0)
        )

    return _estimate(hits, n, size, ratio, resampling)


def _estimate(
    hits: Sequence[int],
    n: Sequence[int],
    size: Sequence[int],
    measure: Callable[[Floats], Floats],
    resampling: Resampling,
) -> Estimate:
    if not len(hits) == len(n) == len(size):
        raise ValueError(f"hits, n and size must have the same strata, got {len(hits)}, {len(n)} and {len(size)}")
    there = [index for index, whole in enumerate(size) if whole > 0]
    looked = int(sum(n))
    if not there or any(n[index] == 0 for index in there):
        return Estimate.missing(looked)
    shares = np.array([hits[index] / n[index] if n[index] else 0.0 for index in range(len(size))])
    value = float(measure(shares[None])[0])
    rng = resampling.rng()
    drawn = np.zeros((resampling.draws, len(size)))
    for index in there:
        drawn[:, index] = rng.beta(hits[index] + PRIOR, n[index] - hits[index] + PRIOR, resampling.draws)
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(measure(drawn), [tail, 1 - tail])
    if np.isnan(value):
        return Estimate(NAN, float(low), float(high), looked)
    return Estimate(value, float(min(low, value)), float(max(high, value)), looked)


def _weights(size: Sequence[int]) -> Floats:
    sizes = np.asarray(size, dtype=np.float64)
    return np.asarray(sizes / sizes.sum()) if sizes.sum() else sizes
