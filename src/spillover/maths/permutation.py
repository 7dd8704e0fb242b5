"""Permutation tests: row orders and changes of sign under which a null leaves the data alike, and their p-values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, Ints, Labels, codes
from spillover.maths.estimate import NAN

MOST_VALUES = 4_000_000  # signs held at once, 32 MB


def permutations(n: int, draws: int, seed: int = 0, groups: Labels | None = None) -> Ints:
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
    exchangeable = [size for size in np.unique(sizes) if (sizes == size).sum() > 1]
    if not exchangeable:
        raise ValueError(
            f"all {len(names)} groups differ in size, so none can change places; permute rows, or choose finer groups"
        )
    for size in exchangeable:
        alike = np.flatnonzero(sizes == size)
        rows = np.stack([by_group[starts[group] : starts[group] + size] for group in alike])  # (groups, size)
        picks = rng.permuted(np.tile(np.arange(len(alike)), (draws, 1)), axis=1)  # (draws, groups)
        orders[:, rows.ravel()] = rows[picks].reshape(draws, -1)
    return orders


def exceedance(observed: ArrayLike, permuted: Floats, two_sided: bool = True) -> Floats:
    """p = (1 + permutations at least as extreme) / (1 + permutations), along the last axis of `permuted`: (...).

    observed (...), permuted (..., draws). A tie up to rounding (1e-12, relative above 1) counts as extreme. NaN where
    observed is NaN; a permuted NaN counts as not extreme. Never 0.
    """
    statistic = np.asarray(observed, dtype=np.float64)
    seen, drawn = (np.abs(statistic), np.abs(permuted)) if two_sided else (statistic, permuted)
    slack = 1e-12 * np.maximum(1.0, np.abs(seen))
    with np.errstate(invalid="ignore"):
        reached = (drawn >= (seen - slack)[..., None]).sum(axis=-1)
    p = (1.0 + reached) / (permuted.shape[-1] + 1)
    return np.asarray(np.where(np.isnan(seen), np.nan, p), dtype=np.float64)


def sign_flip(
    sums: Floats, sizes: Floats, draws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """(low, high, p) of sum(sums) / sum(sizes), the mean paired difference, when whole families change sides.

    sums, sizes: (m,) each family's summed difference and number of pairs. If nothing happened, a family's before and
    after could have been named the other way round: the sign of its summed difference is a fair coin. That null is
    exact in small samples and with many zeros, where a bootstrap of few unequal families is not: at 24 questions near
    the end of the scale the percentile-t rejected 8% at 5%, of EM indicators 13% (docs/results/calibration.md).

    p is two-sided against 0. A null of theta flips sums - theta sizes; a draw of signs is as extreme as what was seen
    just for theta between two values, so the interval's ends are order statistics of those: exact where differences
    scatter symmetrically. NaN ends where m families cannot reject at this level whatever they hold (m < 6 at 95%).
    """
    m = len(sums)
    rank = int(np.floor((1 - level) * (draws + 1) + 1e-9))
    lows, highs = np.empty(draws), np.empty(draws)
    part = max(1, MOST_VALUES // max(m, 1))
    for start in range(0, draws, part):
        signs = rng.choice([-1.0, 1.0], size=(min(part, draws - start), m))
        lows[start : start + part], highs[start : start + part] = _reach(signs, sums, sizes)
    p = float((1 + ((lows <= 0) & (highs >= 0)).sum()) / (1 + draws))
    if 2.0 ** (1 - m) > 1 - level or rank < 1:
        return NAN, NAN, p
    return float(np.sort(lows)[rank - 1]), float(np.sort(-highs)[rank - 1] * -1), p


def _reach(signs: Floats, sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """For each draw the theta between which |flipped - theta sizes| is at least as large as unflipped."""
    seen, weight = float(sums.sum()), float(sizes.sum())
    flipped, left = signs @ sums, signs @ sizes
    slack = 1e-9 * weight
    edges = []
    for top, bottom, end in ((seen - flipped, weight - left, -np.inf), (seen + flipped, weight + left, np.inf)):
        one_sided = bottom <= slack  # all families on one side: as extreme for every theta
        edges.append(np.where(one_sided, end, top / np.where(one_sided, 1.0, bottom)))
    endless = np.isinf(edges[0]) | np.isinf(edges[1])
    nudge = np.where(endless, 0.0, 1e-12 * np.maximum(1.0, np.abs(edges[1])))
    low, high = np.minimum(*edges) - nudge, np.maximum(*edges) + nudge
    return np.where(endless, -np.inf, low), np.where(endless, np.inf, high)
