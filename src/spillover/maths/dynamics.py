"""Training dynamics: gains at similar loss (max_diff), when a score changes (onset), barriers between two models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, Ints, Labels, codes, complete_rows, matrix, quotient, vector
from spillover.maths.bootstrap import resampling_weights
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import exceedance


@dataclass(frozen=True)
class MaxDiff:
    """max(y_i - y_j) over pairs of runs with x_i <= x_j.

    value: in y's unit, possibly negative; NaN with fewer than two runs.
    better, worse: the pair (i, j) as positions in the arrays given, -1 where there is none.
    n: runs with both x and y.
    p: of the test against a monotone relation; None where no standard errors were given.
    expected: mean max_diff under that null, in y's unit.
    detectable: how much better one run (any of those with another at its x or above) would have to be for the test at
        5% to find it in 80% of repetitions, in y's unit: what a null result could have seen.
    """

    value: float
    better: int
    worse: int
    n: int
    p: float | None = None
    expected: float | None = None
    detectable: float | None = None


def max_diff(x: ArrayLike, y: ArrayLike, se: ArrayLike | None = None, resampling: Resampling = DEFAULT) -> MaxDiff:
    """The largest gain in y (score) at similar or lower x (loss), as published (docs/method.md, section 1).

    x, y: (runs,). se: (runs,) standard errors of y from resampling *answers* (the questions are the runs' common
    ground, so their share of the error cancels; the scatter between seeds is in it only if you put it there). With se
    comes the p-value of the null that the true y of these runs never falls as x grows: y is drawn anew around
    `monotone_fit` with that noise, and p is the share of draws with a max_diff as large. A run that lacks x, y or se is
    left out.

    Rejections at p <= 0.05 in 600 simulations of each of 21 monotone truths (flat, slopes, steps; 10, 35, 100
    runs): 0-8%; around the unpooled isotonic fit up to 10%. One run of 35 on a slope lifted by 4 / 5 / 6
    standard errors is found in 43 / 75 / 95%.
    """
    a = vector("x", x)
    b = vector("y", y, len(a))
    e = None if se is None else vector("se", se, len(a))
    places, (a, b, *noise) = complete_rows("x", None, a, b, *(() if e is None else (e,)))
    e = noise[0] if noise else None
    if e is not None and (e <= 0).any():
        raise ValueError(f"standard errors must be above 0, got {e.min():g}; leave out runs without noise estimate")
    n = len(a)
    if n < 2:
        none = None if e is None else NAN
        return MaxDiff(NAN, -1, -1, n, none, none, none)
    value, better, worse = _largest(a, b)
    pair = MaxDiff(value, int(places[better]), int(places[worse]), n)
    if e is None:
        return pair
    gains = _null_gains(a, monotone_fit(a, b, e), e, resampling)
    drawn = np.maximum(gains.max(axis=1), 0.0)  # a run against itself
    p = float(exceedance(value, drawn, two_sided=False))
    return replace(pair, p=p, expected=float(drawn.mean()), detectable=_detectable(gains, drawn))


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
    """When along training a score changes, in steps, each with what resampling families of questions makes of it.

    half: step at which half of the whole change is done; NaN where the trajectory does not move.
    change: midpoint of the two steps between which the mean changes most sharply.
    support: (steps - 1,) share of draws whose sharpest change is between each step and the next; sums to 1.
    Intervals are percentile intervals over families; each n counts the questions scored at every step.
    """

    half: Estimate
    change: Estimate
    support: Floats


def onset(
    steps: ArrayLike, scores: ArrayLike, families: Labels | None = None, resampling: Resampling = DEFAULT
) -> Onset:
    """Onset from rising steps (steps,) and scores (steps, questions), NaN where unscored; families (questions,) labels.

    half: first crossing of the middle between the first and the last mean over questions, linear between checkpoints.
    change: the split that leaves the least squares about two levels, one before it and one after. A question that lacks
    a score at some step is left out; families are resampled whole.
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
    code, _ = codes("families", labels[keep], n)
    drawn = values @ resampling_weights(code, resampling)  # (steps, draws)
    mean = values.mean(axis=1, keepdims=True)
    middles = (x[1:] + x[:-1]) / 2
    splits = _sharpest(drawn)
    support = np.bincount(splits, minlength=len(middles)) / resampling.draws
    half = _estimate(float(_half(x, mean)[0]), _half(x, drawn), n, resampling)
    change = _estimate(float(middles[_sharpest(mean)[0]]), middles[splits], n, resampling)
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
        crossings = np.full(values.shape[1], NAN)
        for step in range(len(x) - 1, 0, -1):
            crosses = (done[step] >= 0.5) & (done[step - 1] < 0.5)
            share = quotient(0.5 - done[step - 1], done[step] - done[step - 1])
            crossings = np.where(crosses, x[step - 1] + share * (x[step] - x[step - 1]), crossings)
    return np.where(whole == 0, NAN, crossings)


def _sharpest(values: Floats) -> Ints:
    """Index of the split with the least squares about two levels, for each column."""
    count = len(values)
    total = values.sum(axis=0)
    before = np.cumsum(values, axis=0)[:-1]
    sizes = np.arange(1, count)[:, None]
    between = before**2 / sizes + (total - before) ** 2 / (count - sizes)  # the larger, the less is left
    return np.asarray(np.argmax(between, axis=0))


def _estimate(value: float, drawn: Floats, n: int, resampling: Resampling) -> Estimate:
    """The value with the percentile interval of the finite draws."""
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0 or not np.isfinite(value):
        return Estimate(value, NAN, NAN, n)
    low, high = np.quantile(drawn, resampling.tails)
    return Estimate(value, float(low), float(high), n)


@dataclass(frozen=True)
class Barrier:
    """How high the loss rises along the straight line between two models.

    height: max over t in (0, 1) of L(t) - ((1 - t) L(0) + t L(1)) (Frankle et al. 2020), in the loss' unit; p of a
        height not above 0. At or below 0 the two ends lie in one basin as far as the line shows. n counts rows.
    share: the t of the highest point.
    excess: (points,) height of each point above the line between the ends, in the order given.
    """

    height: Estimate
    share: float
    excess: Floats


def barrier(
    share: ArrayLike, losses: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT
) -> Barrier:
    """Barrier along shares t (points,) in [0, 1], both ends among them, from losses (points, rows), one a held-out row.

    A row that lacks a loss at some point is left out; clusters (rows,) are resampled whole, the same ones at every
    point, so what makes a row hard cancels. The largest of several noisy heights is too large by chance; the interval
    is the basic bootstrap's (2 estimate - quantiles), which takes that off again, and p is the share of draws,
    recentred to a line without any height, that rise as high.
    """
    t = vector("share", share)
    values = matrix("losses", losses, missing=True)
    if len(values) != len(t):
        raise ValueError(f"losses must have a row for each of {len(t)} points, got {len(values)}")
    if not (np.any(t == 0) and np.any(t == 1)) or len(t) < 3 or (t < 0).any() or (t > 1).any():
        raise ValueError(f"share must hold 0, 1 and a point between, got {t.tolist()}")
    labels, (rows,) = complete_rows("clusters", clusters, values.T)
    values, n = rows.T, len(rows)
    inner = np.flatnonzero((t > 0) & (t < 1))
    if n < 2:
        return Barrier(Estimate.missing(n, tested=True), NAN, np.full(len(t), NAN))
    ends = values[np.flatnonzero(t == 0)[0]], values[np.flatnonzero(t == 1)[0]]
    above = values - ((1 - t)[:, None] * ends[0] + t[:, None] * ends[1])  # (points, rows)
    excess = above.mean(axis=1)
    code, _ = codes("clusters", labels, n)
    drawn = above[inner] @ resampling_weights(code, resampling)  # (inner points, draws)
    height = float(excess[inner].max())
    high, low = 2 * height - np.quantile(drawn.max(axis=0), resampling.tails)
    p = float(exceedance(height, (drawn - excess[inner][:, None]).max(axis=0), two_sided=False))
    highest = float(t[inner][int(np.argmax(excess[inner]))])
    return Barrier(Estimate(height, float(low), float(high), n, p), highest, excess)
