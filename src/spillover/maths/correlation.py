"""Correlations with intervals and permutation tests: Pearson, Spearman, partial, and over runs and questions at once.

Interval: delete-one-cluster jackknife of Fisher's z = arctanh(r), with Student's t on clusters - 2 degrees of
freedom. Share of 95% intervals that held the truth, 500 simulations each, true r near 0.5, n = 8 / 16 / 35 /
100 / 320 (tests/maths/coverage_tables.py; percentile and BCa bootstraps lie between, at 82-96):

    data                   ours                     ours, Spearman           Fisher's formula
    normal                 95 / 94 / 94 / 95 / 95   97 / 95 / 96 / 94 / 97   95 / 96 / 95 / 96 / 95
    clipped at 0 and 100   96 / 95 / 94 / 96 / 94   96 / 97 / 95 / 96 / 94   94 / 94 / 93 / 96 / 93
    log-normal             97 / 93 / 94 / 93 / 93   97 / 96 / 96 / 95 / 94   86 / 86 / 84 / 80 / 71
    noise grows with |x|   92 / 93 / 90 / 95 / 94   92 / 93 / 94 / 97 / 95   82 / 82 / 81 / 78 / 77
    heavy tails (t, 3 df)  94 / 92 / 94 / 93 / 95   96 / 93 / 94 / 94 / 93   85 / 83 / 75 / 71 / 62

The least over r = 0, 0.5, 0.85: 87 (two log-normals at r = 0, where Spearman's keeps 95).

p: permutation of y, a test of *independence* (with unequal noise it can reject where r is 0). Where rows come
in clusters, exchanging single rows would be wrong, and p is the t test of z by the same jackknife.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, Ints, Labels, codes, complete_rows, matrix, quotient, vector
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import exceedance

CHUNK = 512  # permutations at once


def pearson(x: ArrayLike, y: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT) -> Estimate:
    """Pearson correlation of (n,) x and y; rows that lack either are left out; clusters (n,) labels.

    The estimate's n counts the rows used. NaN for fewer than 3 rows or a constant side; no interval for fewer than 4
    clusters, for |r| = 1, or where one cluster alone makes a side vary.
    """
    a = vector("x", x)
    labels, (a, b) = complete_rows("clusters", clusters, a, vector("y", y, len(a)))
    return _correlate(a, b, labels, resampling)


def spearman(x: ArrayLike, y: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT) -> Estimate:
    """Spearman's rank correlation: Pearson's of mid-ranks (ties share their mean rank). Else as `pearson`."""
    from scipy.stats import rankdata

    a = vector("x", x)
    labels, (a, b) = complete_rows("clusters", clusters, a, vector("y", y, len(a)))
    if len(a) < 3:
        return Estimate.missing(len(a), tested=True)
    return _correlate(rankdata(a), rankdata(b), labels, resampling)


def log_pearson(
    x: ArrayLike, y: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT
) -> Estimate:
    """Pearson correlation of log(x) with y, as published for loss against alignment (docs/method.md, section 1)."""
    a = vector("x", x)
    if (a[~np.isnan(a)] <= 0).any():
        raise ValueError(f"log needs x > 0, got {np.nanmin(a):g}; a loss of 0 or below is not a loss in nats")
    return pearson(np.log(a), y, clusters, resampling)


def partial(
    x: ArrayLike,
    y: ArrayLike,
    covariates: ArrayLike,
    clusters: Labels | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Pearson correlation of what covariates (n, c) leave of x and of y (linear, with intercept).

    Rows that lack anything are left out. p by permuting the residuals of y (Freedman and Lane 1983). NaN with fewer
    than c + 3 rows, or where the covariates determine x or y.
    """
    a, b = vector("x", x), vector("y", y)
    z = np.asarray(covariates, dtype=np.float64)
    z = matrix("covariates", z[:, None] if z.ndim == 1 else z, missing=True)
    if not len(a) == len(b) == len(z):
        raise ValueError(f"x, y and covariates must have the same rows, got {len(a)}, {len(b)} and {len(z)}")
    labels, (a, b, z) = complete_rows("clusters", clusters, a, b, z)
    if len(a) < z.shape[1] + 3:
        return Estimate.missing(len(a), tested=True)
    return _correlate(a, b, labels, resampling, _orthonormal(np.column_stack([np.ones(len(z)), z])))


def permuted_partial(x: Floats, y: Floats, covariates: Floats, orders: Ints) -> tuple[float, Floats]:
    """(r, drawn): the partial correlation of x and y (n,) given covariates (n, c), and the same in each of `orders`.

    Freedman and Lane (1983): what is left of y beside the covariates is put into another order (draws, n), the
    covariates are taken out again, and the rest is correlated with what is left of x: drawn (draws,). A covariate that
    drives both x and y so adds nothing to the null, which it would in permuting y itself. NaN where nothing is left of
    x or y.
    """
    design = _orthonormal(np.column_stack([np.ones(len(x)), covariates]))
    a, b = _residuals(x, design), _residuals(y, design)
    for rest, whole in ((a, x), (b, y)):
        if np.linalg.norm(rest) < 1e-10 * max(float(np.linalg.norm(whole)), 1e-300):
            return NAN, np.full(len(orders), np.nan)
    drawn = _residuals(b[orders], design)
    permuted = quotient(drawn @ a, np.linalg.norm(a) * np.linalg.norm(drawn, axis=1))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), permuted


@dataclass(frozen=True)
class RunsCorrelation:
    """One correlation with three intervals: what is resampled is what the claim reaches beyond.

    both: new runs and new questions; p is a t test on the interval's own error.
    runs: new runs, these questions; p is a permutation of runs, a t test where a run has several rows.
    questions: these runs, new questions; p is a t test on the interval's own error.
    n_questions: columns used. Every estimate's n is the number of rows (runs, or checkpoints of runs).
    """

    both: Estimate
    runs: Estimate
    questions: Estimate
    n_questions: int


def correlation_over_runs(
    x: ArrayLike,
    y: ArrayLike,
    family: Labels | None = None,
    log: bool = True,
    resampling: Resampling = DEFAULT,
    run: Labels | None = None,
) -> RunsCorrelation:
    """Pearson r of log(x) (x itself with log=False) with each run's mean over questions.

    x (R,); y (R, Q) question means, NaN where unscored; family (Q,) labels resampled as questions. A question
    not scored in every used run is left out, so that all runs are means over the same questions; a run
    without x, or without any score, is left out before. run (R,) labels rows that are checkpoints of one run: whole
    runs are resampled then, and counted.

    Both runs and questions are samples: questions that respond to x each in their own way make an interval over runs
    alone far too narrow. Interval `both`: Fisher's z with the sum of the two jackknife variances (a little wide: the
    run-by-question part is in both), t on the lesser of the two counts - 2. Share of 95% intervals that held the truth,
    1,000 simulations each, where the questions' slopes spread by 0 / 1 / 3 times their mean
    (tests/maths/coverage_tables.py):

        runs, questions   runs alone     questions alone   both
        12, 24            96 / 93 / 74   56 / 75 / 88      98 / 98 / 96
        35, 24            94 / 81 / 48   56 / 88 / 91      97 / 97 / 93
        35, 8             95 / 71 / 32   78 / 94 / 87      100 / 98 / 90
        16, 200           96 / 94 / 90   22 / 39 / 76      96 / 95 / 96
    """
    a = vector("x", x)
    scores = matrix("y", y, missing=True)
    if len(scores) != len(a):
        raise ValueError(f"y must have one row a run: {len(a)} runs in x, {len(scores)} rows in y; transpose it?")
    if log and (a[~np.isnan(a)] <= 0).any():
        raise ValueError(f"log needs x > 0, got {np.nanmin(a):g}; pass log=False to correlate x itself")
    family_code, _ = codes("family", np.arange(scores.shape[1]) if family is None else family, scores.shape[1])
    run_code, _ = codes("run", np.arange(len(a)) if run is None else run, len(a))
    keep = ~np.isnan(a) & ~np.isnan(scores).all(axis=1)
    a, scores, run_code = np.log(a[keep]) if log else a[keep], scores[keep], run_code[keep]
    whole = ~np.isnan(scores).any(axis=0)
    scores, family_code = scores[:, whole], family_code[whole]
    if scores.size == 0:
        none = Estimate.missing(len(a), tested=True)
        return RunsCorrelation(none, none, none, 0)
    level = scores.mean(axis=1)
    by_run = pearson(a, level, run_code, resampling)
    runs, families = np.unique(run_code), np.unique(family_code)
    without_run, without_family = [], []
    if len(runs) > 1:
        without_run = [_plain_r(a[run_code != left_out], level[run_code != left_out]) for left_out in runs]
    if len(families) > 1:
        without_family = [_plain_r(a, scores[:, family_code != left_out].mean(axis=1)) for left_out in families]
    error_runs, error_questions = jackknife_error(np.array(without_run)), jackknife_error(np.array(without_family))
    error, freedom = float(np.hypot(error_runs, error_questions)), min(len(runs), len(families)) - 2
    low, high, p = z_interval(by_run.estimate, error_questions, len(families) - 2, resampling.level)
    by_question = replace(by_run, low=low, high=high, p=p)
    low, high, p = z_interval(by_run.estimate, error, freedom, resampling.level)
    return RunsCorrelation(replace(by_run, low=low, high=high, p=p), by_run, by_question, scores.shape[1])


def jackknife_error(deleted: Floats) -> float:
    """Standard error of z = arctanh(r) from the correlations with each unit left out, (units,); NaN where it has none.

    That is with fewer than 4 units, or where without some unit the correlation is undefined or +-1: then it
    hangs on that unit alone.
    """
    if len(deleted) < 4 or np.isnan(deleted).any() or (np.abs(deleted) > 1 - 1e-12).any():
        return NAN
    z = np.arctanh(deleted)
    return float(np.sqrt((len(z) - 1) / len(z) * ((z - z.mean()) ** 2).sum()))


def z_interval(r: float, error: float, freedom: int, level: float = 0.95) -> tuple[float, float, float]:
    """(low, high, p): tanh(z -+ t error), Student's t on `freedom` degrees; p two-sided against r = 0.

    NaN where r is +-1 or the error is NaN or nothing.
    """
    from scipy.stats import t

    if not error > 1e-14 or not abs(r) < 1 - 1e-12 or freedom < 1:
        return NAN, NAN, NAN
    z, reach = float(np.arctanh(r)), float(t.ppf((1 + level) / 2, freedom)) * error
    return float(np.tanh(z - reach)), float(np.tanh(z + reach)), float(2 * t.sf(abs(z) / error, freedom))


def jackknife_interval(r: float, deleted: Floats, level: float = 0.95) -> tuple[float, float, float]:
    """`z_interval` of r from the correlations with each cluster left out (clusters,), on clusters - 2 degrees."""
    return z_interval(r, jackknife_error(deleted), len(deleted) - 2, level)


def _correlate(
    x: Floats, y: Floats, clusters: Labels, resampling: Resampling, design: Floats | None = None
) -> Estimate:
    """The estimate for complete rows, less what the orthonormal columns of `design` (n, c) explain (None: the mean)."""
    n = len(x)
    design = np.full((n, 1), 1 / np.sqrt(max(n, 1))) if design is None else design
    a, b = _unit_residuals(x, design), _unit_residuals(y, design)
    if n < 3 or a is None or b is None:
        return Estimate.missing(n, tested=True)
    r = float(np.clip(a @ b, -1.0, 1.0))
    code, names = codes("clusters", clusters, n)
    low, high, p = jackknife_interval(r, _deleted(a, b, design, code, len(names)), resampling.level)
    if len(names) == n:
        p = _residual_permutation(a, b, r, design, resampling)
    return Estimate(r, low, high, n, p)


def _residual_permutation(a: Floats, b: Floats, r: float, design: Floats, resampling: Resampling) -> float:
    """Permute b's residuals, take the design out again, correlate with a (Freedman-Lane)."""
    rng, permuted = resampling.rng(), np.empty(resampling.draws)
    for start in range(0, resampling.draws, CHUNK):
        drawn = rng.permuted(np.tile(b, (min(CHUNK, resampling.draws - start), 1)), axis=1)
        lengths = np.sqrt(np.maximum(1 - ((drawn @ design) ** 2).sum(axis=1), 1e-300))
        permuted[start : start + CHUNK] = drawn @ a / lengths
    return float(exceedance(r, permuted))


def _deleted(a: Floats, b: Floats, design: Floats, code: Ints, clusters: int) -> Floats:
    """The correlation with each cluster left out, residuals refitted: (clusters,); NaN where undefined.

    Leaving out rows g changes each sum of squares of residuals by e_g' (I - H_gg)^-1 e_g, H the hat matrix.
    """
    if clusters == len(a):
        room = 1 - (design**2).sum(axis=1)
        scale = quotient(np.ones(len(a)), room, 1e-10)
        aa, bb, ab = a * a * scale, b * b * scale, a * b * scale
    else:
        order = np.argsort(code, kind="stable")
        ends = np.cumsum(np.bincount(code, minlength=clusters))
        parts = [_block(a[rows], b[rows], design[rows]) for rows in np.split(order, ends[:-1])]
        aa, bb, ab = np.array(parts).T
    left_a, left_b = 1 - aa, 1 - bb
    with np.errstate(invalid="ignore"):
        defined = (left_a > 1e-10) & (left_b > 1e-10)
        bottom = np.sqrt(np.where(defined, left_a * left_b, 1.0))
        return np.where(defined, np.clip((float(a @ b) - ab) / bottom, -1.0, 1.0), np.nan)


def _block(a: Floats, b: Floats, design: Floats) -> tuple[float, float, float]:
    """What leaving out one cluster's rows takes from the sums of squares of a, of b, and from their product."""
    room = np.eye(len(a)) - design @ design.T
    if np.linalg.eigvalsh(room)[0] < 1e-10:
        return NAN, NAN, NAN
    solved = np.linalg.solve(room, np.column_stack([a, b]))
    return float(a @ solved[:, 0]), float(b @ solved[:, 1]), float(a @ solved[:, 1])


def _residuals(values: Floats, design: Floats) -> Floats:
    """What the orthonormal columns of `design` (n, c) leave of values (n,) or (draws, n); twice, against rounding."""
    rest = values - (values @ design) @ design.T
    return np.asarray(rest - (rest @ design) @ design.T)


def _unit_residuals(values: Floats, design: Floats) -> Floats | None:
    """Residuals on the design at length 1; None where nothing but rounding is left."""
    rest = _residuals(values, design)
    length = float(np.linalg.norm(rest))
    return rest / length if length > 1e-10 * float(np.linalg.norm(values)) else None


def _orthonormal(columns: Floats) -> Floats:
    """An orthonormal basis of the columns' span; columns that repeat others are dropped."""
    sizes = np.linalg.norm(columns, axis=0)
    u, singular, _ = np.linalg.svd(columns / np.where(sizes > 0, sizes, 1.0), full_matrices=False)
    return np.asarray(u[:, singular > 1e-10 * singular[0]])


def _plain_r(x: Floats, y: Floats) -> float:
    """Pearson r; NaN where a side does not vary."""
    a, b = x - x.mean(), y - y.mean()
    bottom = float(np.linalg.norm(a) * np.linalg.norm(b))
    nothing = 1e-10 * float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip(a @ b / bottom, -1.0, 1.0)) if bottom > nothing else NAN
