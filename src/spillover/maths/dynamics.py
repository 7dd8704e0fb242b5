"""Is any run better aligned at similar or lower loss? The published max_diff, with the null it lacked.

Knows one x and one y a run, not what they are.

When along training a score changes: the step of half its change, and the sharpest single change. Knows no model.

Both are read off few checkpoints, so both come with what resampling families of questions makes of them.

Loss along a straight line between two models: how high it rises above the line between its ends. Knows no model.

Barrier height: max over t in (0, 1) of L(t) - ((1 - t) L(0) + t L(1)) (Frankle et al. 2020). At or below 0 the two
ends lie in one basin as far as the line shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, codes, matrix, vector
from spillover.maths.bootstrap import resampling_counts
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling


@dataclass(frozen=True)
class MaxDiff:
    """max(y_i - y_j) over pairs of runs with x_i <= x_j.

    value: in y's unit, possibly negative; NaN with fewer than two runs. better, worse: the pair (i, j) as
    positions in the arrays given, -1 where there is none. n: runs with both x and y. p: of the test against a
    monotone relation, None where no standard errors were given; expected: mean max_diff under that null, in
    y's unit. detectable: how much better one run (any of those with another at its x or above) would have to be
    for the test at 5% to find it in 80% of repetitions, in y's unit: what a null result could have seen.
    """

    value: float
    better: int
    worse: int
    n: int
    p: float | None = None
    expected: float | None = None
    detectable: float | None = None


def max_diff(x: ArrayLike, y: ArrayLike, se: ArrayLike | None = None, resampling: Resampling = DEFAULT) -> MaxDiff:
    """The largest gain in y at similar or lower x, (runs,) each, as published (METHOD section 1).

    se: (runs,) standard errors of y from resampling *answers* (the questions are the runs' common ground, so
    their share of the error cancels; seeds' scatter is in it only if you put it there). Adds the p-value of
    the null that the true y of these runs never falls as x grows: y is drawn anew around `monotone_fit` with
    that noise, and p is the share of draws with a max_diff as large. A run that lacks x, y or se is left out.

    Rejections at p <= 0.05 in 600 simulations of each of 21 monotone truths (flat, slopes, steps; 10, 35, 100
    runs): 0-8%; around the unpooled isotonic fit up to 10%. One run of 35 on a slope lifted by 4 / 5 / 6
    standard errors is found in 43 / 75 / 95%.
    """
    a = vector("x", x)
    b = vector("y", y, len(a))
    e = None if se is None else vector("se", se, len(a))
    keep = ~(np.isnan(a) | np.isnan(b) | (np.isnan(e) if e is not None else False))
    if e is not None and (e[keep] <= 0).any():
        raise ValueError(
            f"standard errors must be above 0, got {e[keep].min():g}; leave out runs without noise estimate"
        )
    rows = np.flatnonzero(keep)
    n = len(rows)
    if n < 2:
        none = None if e is None else NAN
        return MaxDiff(NAN, -1, -1, n, none, none, none)
    a, b = a[keep], b[keep]
    value, better, worse = _largest(a, b)
    p = expected = found = None
    if e is not None:
        gains = _null_gains(a, monotone_fit(a, b, e[keep]), e[keep], resampling)
        drawn = np.maximum(gains.max(axis=1), 0.0)  # a run against itself
        p = float((1 + (drawn >= value - 1e-12).sum()) / (1 + resampling.draws))
        expected = float(drawn.mean())
        found = _detectable(gains, drawn)
    return MaxDiff(value, int(rows[better]), int(rows[worse]), n, p, expected, found)


def monotone_fit(x: ArrayLike, y: ArrayLike, se: ArrayLike, pool: float = 2.0) -> Floats:
    """Least-squares fit to y that never falls with x, weights 1/se^2 (pool adjacent violators): (runs,).

    Equal x get equal values. Neighbouring levels closer than `pool` standard errors of their difference are
    merged, the closest first: the plain fit (pool=0) climbs on noise, which would make the null's max_diff
    too small.
    """
    from scipy.optimize import isotonic_regression

    a = vector("x", x)
    b, e = vector("y", y, len(a)), vector("se", se, len(a))
    _, level = np.unique(a, return_inverse=True)
    weight = np.bincount(level, weights=1 / e**2)
    mean = np.bincount(level, weights=b / e**2) / weight
    fit = isotonic_regression(mean, weights=weight)
    starts = fit.blocks[:-1]
    levels, weights = list(fit.x[starts]), list(np.add.reduceat(weight, starts))
    ends = list(fit.blocks[1:])
    while len(levels) > 1:
        gaps = np.diff(levels) / np.sqrt(1 / np.array(weights[1:]) + 1 / np.array(weights[:-1]))
        i = int(np.argmin(gaps))
        if gaps[i] >= pool:
            break
        both = weights[i] + weights[i + 1]
        levels[i : i + 2] = [(levels[i] * weights[i] + levels[i + 1] * weights[i + 1]) / both]
        weights[i : i + 2] = [both]
        del ends[i]
    return np.asarray(np.repeat(levels, np.diff([0, *ends]))[level], dtype=np.float64)


def _largest(x: Floats, y: Floats) -> tuple[float, int, int]:
    """The value and the pair (i, j); the first by position of equals."""
    gains = np.where(x[:, None] <= x[None, :], y[:, None] - y[None, :], -np.inf)
    np.fill_diagonal(gains, -np.inf)
    better, worse = np.unravel_index(int(np.argmax(gains)), gains.shape)
    return float(gains[better, worse]), int(better), int(worse)


def _null_gains(x: Floats, fit: Floats, se: Floats, resampling: Resampling) -> Floats:
    """Gain of each run over the worst other at its x or above: (draws around the fit, runs), -inf without another."""
    order = np.argsort(x, kind="stable")
    first = np.searchsorted(x[order], x[order], side="left")  # runs of equal x stand against each other
    drawn = fit[order] + se[order] * resampling.rng().standard_normal((resampling.draws, len(x)))
    above = np.full((resampling.draws, len(x) + 1), np.inf)
    above[:, :-1] = np.minimum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]  # least from here up, itself among them
    gains = np.empty_like(drawn)
    for place, start in enumerate(first):
        worst = np.minimum(above[:, place + 1], drawn[:, start:place].min(axis=1, initial=np.inf))
        gains[:, place] = drawn[:, place] - worst
    return gains


def _detectable(gains: Floats, largest: Floats, level: float = 0.05, power: float = 0.8) -> float:
    """The lift of one run that brings the largest gain over the null's own quantile in `power` of the draws."""
    needed = np.quantile(largest, 1 - level) - gains[:, np.isfinite(gains).all(axis=0)]
    needed = np.where(largest[:, None] >= np.quantile(largest, 1 - level), 0.0, np.maximum(needed, 0.0))
    return float(np.quantile(needed, power))


@dataclass(frozen=True)
class Onset:
    """half: step at which half of the whole change is done. change: between which steps the mean changes most sharply.

    Each with a percentile interval over families (steps; NaN where the trajectory does not move). support: (steps - 1,)
    share of draws whose sharpest change is between each step and the next; sums to 1.
    """

    half: Estimate
    change: Estimate
    support: Floats


def onset(
    steps: ArrayLike, scores: ArrayLike, families: ArrayLike | None = None, resampling: Resampling = DEFAULT
) -> Onset:
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
    picked = resampling_counts(len(names), resampling.draws, resampling.seed)[:, code]
    drawn = values @ (picked / picked.sum(axis=1, keepdims=True)).T  # (steps, draws)
    mean = values.mean(axis=1, keepdims=True)
    middles = (x[1:] + x[:-1]) / 2
    splits = _sharpest(drawn)
    support = np.bincount(splits, minlength=len(middles)) / resampling.draws
    half = _estimate(float(_half(x, mean)[0]), _half(x, drawn), n, resampling.level)
    change = _estimate(float(middles[_sharpest(mean)[0]]), middles[splits], n, resampling.level)
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


@dataclass(frozen=True)
class Barrier:
    """height: with its interval, in the values' unit; p of a height not above 0. share: where on the line it is.

    excess: (points,) height of each point above the line between the ends, in the order given.
    """

    height: Estimate
    share: float
    excess: Floats


def barrier(
    share: ArrayLike, losses: ArrayLike, clusters: ArrayLike | None = None, resampling: Resampling = DEFAULT
) -> Barrier:
    """Barrier height along shares (points,) in [0, 1], both ends among them; losses (points, rows), one a held-out row.

    The same rows are resampled at every point, so what makes a row hard cancels. The largest of several noisy heights
    is too large by chance; the interval is the basic bootstrap's (2 estimate - quantiles), which takes that off again,
    and p is the share of draws, recentred to a line without any height, that rise as high. Clusters (rows,) are
    resampled whole. n counts rows.
    """
    t = vector("share", share)
    values = matrix("losses", losses, missing=True)
    if len(values) != len(t):
        raise ValueError(f"losses must have a row for each of {len(t)} points, got {len(values)}")
    if not (np.any(t == 0) and np.any(t == 1)) or len(t) < 3 or (t < 0).any() or (t > 1).any():
        raise ValueError(f"share must hold 0, 1 and a point between, got {t.tolist()}")
    values = values[:, ~np.isnan(values).any(axis=0)]
    n = values.shape[1]
    inner = np.flatnonzero((t > 0) & (t < 1))
    if n < 2:
        return Barrier(Estimate.missing(n, tested=True), NAN, np.full(len(t), NAN))
    ends = values[np.flatnonzero(t == 0)[0]], values[np.flatnonzero(t == 1)[0]]
    above = values - ((1 - t)[:, None] * ends[0] + t[:, None] * ends[1])  # (points, rows)
    excess = above.mean(axis=1)
    drawn = above[inner] @ _weights(n, clusters, resampling)  # (inner points, draws)
    estimate = float(excess[inner].max())
    heights = drawn.max(axis=0)
    tail = (1 - resampling.level) / 2
    low, high = 2 * estimate - np.quantile(heights, [1 - tail, tail])
    null = (drawn - excess[inner][:, None]).max(axis=0)
    p = float((1 + (null >= estimate - 1e-12).sum()) / (1 + resampling.draws))
    where = float(t[inner][int(np.argmax(excess[inner]))])
    return Barrier(Estimate(estimate, float(low), float(high), n, p), where, excess)


def _weights(n: int, clusters: ArrayLike | None, resampling: Resampling) -> Floats:
    """Share of each row in each draw: (rows, draws)."""
    code = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    picked = resampling_counts(int(code.max()) + 1, resampling.draws, resampling.seed)[:, code]
    return np.asarray((picked / picked.sum(axis=1, keepdims=True)).T)
