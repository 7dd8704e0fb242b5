"""Orders of rows under which a null leaves the data alike. Knows rows and groups, not statistics.

The mean of paired differences when whole families change sides. Knows sums of differences and counts only.

If nothing happened, each family's before and after could have been named the other way round: the sign of its summed
difference is a fair coin. That null is exact in small samples and with many zeros, where a bootstrap of few unequal
families is not: at 24 questions near the end of the scale the percentile-t rejected 8% at 5%, of EM indicators 13%
(docs/results/calibration.md). Shifting the null gives an interval, exact where differences scatter symmetrically.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spillover.maths.arrays import Floats, Ints, codes
from spillover.maths.estimate import NAN


def permutations(n: int, draws: int, seed: int = 0, groups: Any = None) -> Ints:
    """Row orders (draws, n); use as y[order].

    Without groups every order is alike. With groups (n,), whole groups change places with groups of the same
    size, keeping the order of rows within: what a group's rows share is kept, so the test stays valid when
    near-duplicate questions score alike (Winkler et al. 2015, whole-block exchange). Refused where no two
    groups have one size.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.permuted(np.tile(np.arange(n, dtype=np.int64), (draws, 1)), axis=1)
    code, names = codes("groups", groups, n)
    sizes = np.bincount(code, minlength=len(names))
    by_group = np.argsort(code, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    orders = np.tile(np.arange(n, dtype=np.int64), (draws, 1))
    moved = False
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        if len(alike) < 2:
            continue
        moved = True
        rows = np.stack([by_group[starts[g] : starts[g] + size] for g in alike])  # (groups, size)
        picks = rng.permuted(np.tile(np.arange(len(alike)), (draws, 1)), axis=1)  # (draws, groups)
        orders[:, rows.ravel()] = rows[picks].reshape(draws, -1)
    if not moved:
        raise ValueError(
            f"all {len(names)} groups differ in size, so none can change places; permute rows, or choose finer groups"
        )
    return orders


def exceedance(observed: Floats, permuted: Floats, two_sided: bool = True) -> Floats:
    """p = (1 + permutations at least as extreme) / (1 + permutations), along the last axis of `permuted`.

    observed (...), permuted (..., draws). NaN where observed is NaN; a permuted NaN counts as not extreme.
    Never 0.
    """
    seen, drawn = (np.abs(observed), np.abs(permuted)) if two_sided else (observed, permuted)
    slack = 1e-12 * np.maximum(1.0, np.abs(seen))
    with np.errstate(invalid="ignore"):
        reached = (drawn >= (seen - slack)[..., None]).sum(axis=-1)
    p = (1.0 + reached) / (permuted.shape[-1] + 1)
    return np.asarray(np.where(np.isnan(seen), np.nan, p), dtype=np.float64)


MOST_VALUES = 4_000_000  # signs held at once


def sign_flip(
    sums: Floats, sizes: Floats, draws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """(low, high, p) of sum(sums) / sum(sizes), families (m,) each changing sides with its own coin.

    p is two-sided against 0. A null of theta flips sums - theta sizes; a draw of signs is as extreme as what was seen
    just for theta between two values, so the interval's ends are order statistics of those. NaN ends where m families
    cannot reject at this level whatever they hold (m < 6 at 95%).
    """
    m = len(sums)
    count = int(np.floor((1 - level) * (draws + 1) + 1e-9))
    lows, highs = np.empty(draws), np.empty(draws)
    part = max(1, MOST_VALUES // max(m, 1))
    for start in range(0, draws, part):
        signs = rng.choice([-1.0, 1.0], size=(min(part, draws - start), m))
        lows[start : start + part], highs[start : start + part] = _reach(signs, sums, sizes)
    p = float((1 + ((lows <= 0) & (highs >= 0)).sum()) / (1 + draws))
    if 2.0 ** (1 - m) > 1 - level or count < 1:
        return NAN, NAN, p
    return float(np.sort(lows)[count - 1]), float(np.sort(-highs)[count - 1] * -1), p


def _reach(signs: Floats, sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """For each draw the theta between which |flipped - theta sizes| is at least as large as unflipped."""
    seen, weight = float(sums.sum()), float(sizes.sum())
    flipped, left = signs @ sums, signs @ sizes
    slack = 1e-9 * weight
    edges = []
    for top, bottom, end in ((seen - flipped, weight - left, -np.inf), (seen + flipped, weight + left, np.inf)):
        same = bottom <= slack  # all families on one side: as extreme for every theta
        edges.append(np.where(same, end, top / np.where(same, 1.0, bottom)))
    same = np.isinf(edges[0]) | np.isinf(edges[1])
    low, high = np.minimum(*edges), np.maximum(*edges)
    nudge = 1e-12 * np.maximum(1.0, np.abs(edges[1]))
    return np.where(same, -np.inf, low - np.where(same, 0.0, nudge)), np.where(
        same, np.inf, high + np.where(same, 0.0, nudge)
    )
