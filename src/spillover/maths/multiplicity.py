"""Corrections for testing many times: the false-discovery rate (Benjamini-Hochberg), the family-wise error (max-T)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix, vector


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """q-values of one family of tests (Benjamini-Hochberg 1995): the false-discovery rate that calls each.

    p: (tests,) in [0, 1]; NaN where a test could not be made. Returns (tests,): NaN stays NaN and does not
    count as a test. Holds the rate under independence and positive dependence.
    """
    values = vector("p", p)
    made = ~np.isnan(values)
    outside = values[(values < 0) | (values > 1)]
    if len(outside):
        raise ValueError(f"p-values must lie in [0, 1], got {outside[0]:g}")
    q = np.full(len(values), np.nan)
    tests = int(made.sum())
    if tests == 0:
        return q
    order = np.argsort(values[made], kind="stable")
    scaled = values[made][order] * tests / np.arange(1, tests + 1)
    adjusted = np.empty(tests)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    q[made] = adjusted
    return q


def max_t(observed: ArrayLike, permuted: ArrayLike, two_sided: bool = True, step_down: bool = True) -> Floats:
    """Permutation p-values that hold the family-wise error over all tests (Westfall-Young max-T).

    observed: (tests,) statistics on one scale (correlations, t values); NaN where a test could not be made.
    permuted: (permutations, tests) the same statistics under the *same* permutation in each row, so that
    dependence between tests (neighbouring layers) is kept. Returns (tests,) in [1/(permutations+1), 1]; NaN
    where observed is. A permuted NaN is taken as no evidence. step_down is uniformly more powerful and holds
    the same error.
    """
    seen = vector("observed", observed)
    drawn = matrix("permuted", permuted, missing=True)
    if drawn.shape[1] != len(seen):
        raise ValueError(f"permuted has {drawn.shape[1]} columns for {len(seen)} tests; pass (permutations, tests)")
    if len(drawn) < 19:
        raise ValueError(f"permuted has {len(drawn)} rows; fewer than 19 cannot reach p = 0.05")
    if two_sided:
        seen, drawn = np.abs(seen), np.abs(drawn)
    drawn = np.where(np.isnan(drawn), -np.inf, drawn)
    adjusted = np.full(len(seen), np.nan)
    made = np.flatnonzero(~np.isnan(seen))
    if len(made) == 0:
        return adjusted
    order = made[np.argsort(-seen[made], kind="stable")]
    ranked = drawn[:, order]
    if step_down:  # the k-th test competes only with itself and those ranked below it
        tops = np.maximum.accumulate(ranked[:, ::-1], axis=1)[:, ::-1]
    else:
        tops = np.repeat(ranked.max(axis=1, keepdims=True), len(order), axis=1)
    reached = tops >= seen[order] - 1e-12 * np.maximum(1.0, np.abs(seen[order]))
    p = (1.0 + reached.sum(axis=0)) / (len(drawn) + 1)
    adjusted[order] = np.maximum.accumulate(p)
    return adjusted
