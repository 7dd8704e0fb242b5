"""Is any run better aligned at similar or lower loss? The published max_diff, with the null it lacked.

Knows one x and one y a run, not what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, vector
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.estimate import NAN


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


def max_diff(x: ArrayLike, y: ArrayLike, se: ArrayLike | None = None, how: Resampling = DEFAULT) -> MaxDiff:
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
        gains = _null_gains(a, monotone_fit(a, b, e[keep]), e[keep], how)
        drawn = np.maximum(gains.max(axis=1), 0.0)  # a run against itself
        p = float((1 + (drawn >= value - 1e-12).sum()) / (1 + how.draws))
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


def _null_gains(x: Floats, fit: Floats, se: Floats, how: Resampling) -> Floats:
    """Gain of each run over the worst other at its x or above: (draws around the fit, runs), -inf without another."""
    order = np.argsort(x, kind="stable")
    first = np.searchsorted(x[order], x[order], side="left")  # runs of equal x stand against each other
    drawn = fit[order] + se[order] * how.rng().standard_normal((how.draws, len(x)))
    above = np.full((how.draws, len(x) + 1), np.inf)
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
