"""Correlations with intervals and permutation tests. Knows pairs of numbers, not what they measure.

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

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, codes, matrix, vector
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.estimate import NAN, Estimate
from spillover.maths.fisher import jackknife_error, z_interval
from spillover.maths.permutation import exceedance, permutations

CHUNK = 512


def pearson(x: ArrayLike, y: ArrayLike, clusters: Any = None, how: Resampling = DEFAULT) -> Estimate:
    """Pearson correlation of (n,) x and y; rows that lack either are left out; clusters (n,) labels.

    n counts the rows used. NaN for fewer than 3 rows or a constant side; no interval for fewer than 4
    clusters, for |r| = 1, or where one cluster alone makes a side vary.
    """
    a, b, keep = _pairs(x, y)
    return _correlate(a, b, _kept(clusters, keep), how)


def spearman(x: ArrayLike, y: ArrayLike, clusters: Any = None, how: Resampling = DEFAULT) -> Estimate:
    """Spearman's rank correlation: Pearson's of mid-ranks (ties share their mean rank). Else as `pearson`."""
    from scipy.stats import rankdata

    a, b, keep = _pairs(x, y)
    if len(a) < 3:
        return Estimate.missing(len(a), tested=True)
    return _correlate(rankdata(a), rankdata(b), _kept(clusters, keep), how)


def log_pearson(x: ArrayLike, y: ArrayLike, clusters: Any = None, how: Resampling = DEFAULT) -> Estimate:
    """Pearson correlation of log(x) with y, as published for loss against alignment (METHOD section 1)."""
    a = vector("x", x)
    if (a[~np.isnan(a)] <= 0).any():
        raise ValueError(f"log needs x > 0, got {np.nanmin(a):g}; a loss of 0 or below is not a loss in nats")
    return pearson(np.log(a), y, clusters, how)


def partial(
    x: ArrayLike, y: ArrayLike, covariates: ArrayLike, clusters: Any = None, how: Resampling = DEFAULT
) -> Estimate:
    """Pearson correlation of what covariates (n, c) leave of x and of y (linear, with intercept).

    Rows that lack anything are left out. p by permuting the residuals of y (Freedman-Lane). NaN with fewer
    than c + 3 rows, or where the covariates determine x or y.
    """
    a, b = vector("x", x), vector("y", y)
    z = np.asarray(covariates, dtype=np.float64)
    z = matrix("covariates", z[:, None] if z.ndim == 1 else z, missing=True)
    if not len(a) == len(b) == len(z):
        raise ValueError(f"x, y and covariates must have the same rows, got {len(a)}, {len(b)} and {len(z)}")
    keep = ~(np.isnan(a) | np.isnan(b) | np.isnan(z).any(axis=1))
    a, b, z = a[keep], b[keep], z[keep]
    if len(a) < z.shape[1] + 3:
        return Estimate.missing(len(a), tested=True)
    design = orthonormal(np.column_stack([np.ones(len(z)), z]))
    return _correlate(a, b, _kept(clusters, keep), how, design)


def permutation_p(x: ArrayLike, y: ArrayLike, draws: int = 9999, seed: int = 0, groups: Any = None) -> float:
    """Two-sided permutation p-value of Pearson's r, without missing values; groups change places whole.

    Pass mid-ranks for Spearman's. (1 + as extreme) / (1 + draws): never 0.
    """
    a, b, keep = _pairs(x, y)
    if not keep.all():
        raise ValueError(f"{int((~keep).sum())} rows lack x or y; drop them, and their groups' labels, first")
    a, b = _standard(a), _standard(b)
    orders = permutations(len(a), draws, seed, groups)
    return float(exceedance(np.asarray(a @ b), b[orders] @ a))


def _correlate(x: Floats, y: Floats, clusters: Any, how: Resampling, design: Floats | None = None) -> Estimate:
    """The estimate for complete rows, less what the orthonormal columns of `design` (n, c) explain."""
    n = len(x)
    design = np.full((n, 1), 1 / np.sqrt(max(n, 1))) if design is None else design
    a, b = _left_over(x, design), _left_over(y, design)
    if n < 3 or a is None or b is None:
        return Estimate.missing(n, tested=True)
    r = float(np.clip(a @ b, -1.0, 1.0))
    code, names = codes("clusters", np.arange(n) if clusters is None else clusters, n)
    deleted = _deleted(a, b, design, code, len(names))
    low, high, p = z_interval(r, jackknife_error(deleted), len(names) - 2, how.level)
    if len(names) == n:
        p = _residual_permutation(a, b, r, design, how)
    return Estimate(r, low, high, n, p)


def _residual_permutation(a: Floats, b: Floats, r: float, design: Floats, how: Resampling) -> float:
    """Permute b's residuals, take the design out again, correlate with a (Freedman-Lane)."""
    extreme, rng = 0, how.rng()
    for start in range(0, how.draws, CHUNK):
        drawn = rng.permuted(np.tile(b, (min(CHUNK, how.draws - start), 1)), axis=1)
        lengths = np.sqrt(np.maximum(1 - ((drawn @ design) ** 2).sum(axis=1), 1e-300))
        extreme += int((np.abs(drawn @ a / lengths) >= abs(r) - 1e-12).sum())
    return (1 + extreme) / (1 + how.draws)


def _deleted(a: Floats, b: Floats, design: Floats, code: Any, clusters: int) -> Floats:
    """The correlation with each cluster left out, residuals refitted: (clusters,); NaN where undefined.

    Leaving out rows g changes each sum of squares of residuals by e_g' (I - H_gg)^-1 e_g, H the hat matrix.
    """
    if clusters == len(a):
        room = 1 - (design**2).sum(axis=1)
        scale = np.divide(1.0, room, out=np.full(len(a), np.nan), where=room > 1e-10)
        aa, bb, ab = a * a * scale, b * b * scale, a * b * scale
    else:
        order = np.argsort(code, kind="stable")
        ends = np.cumsum(np.bincount(code, minlength=clusters))
        parts = [_block(a[g], b[g], design[g]) for g in np.split(order, ends[:-1])]
        aa, bb, ab = np.array(parts).T
    left_a, left_b = 1 - aa, 1 - bb
    with np.errstate(invalid="ignore"):
        real = (left_a > 1e-10) & (left_b > 1e-10)
        bottom = np.sqrt(np.where(real, left_a * left_b, 1.0))
        return np.where(real, np.clip((float(a @ b) - ab) / bottom, -1.0, 1.0), np.nan)


def _block(a: Floats, b: Floats, design: Floats) -> tuple[float, float, float]:
    room = np.eye(len(a)) - design @ design.T
    if np.linalg.eigvalsh(room)[0] < 1e-10:
        return NAN, NAN, NAN
    solved = np.linalg.solve(room, np.column_stack([a, b]))
    return float(a @ solved[:, 0]), float(b @ solved[:, 1]), float(a @ solved[:, 1])


def _left_over(values: Floats, design: Floats) -> Floats | None:
    """Residuals on the design at length 1; None where nothing but rounding is left."""
    if len(values) == 0:
        return None
    rest = values - design @ (design.T @ values)
    rest = rest - design @ (design.T @ rest)
    length = float(np.linalg.norm(rest))
    return rest / length if length > 1e-10 * float(np.linalg.norm(values)) and length > 0 else None


def orthonormal(columns: Floats) -> Floats:
    """An orthonormal basis of the columns' span; columns that repeat others are dropped."""
    sizes = np.linalg.norm(columns, axis=0)
    u, singular, _ = np.linalg.svd(columns / np.where(sizes > 0, sizes, 1.0), full_matrices=False)
    return np.asarray(u[:, singular > 1e-10 * singular[0]])


def _standard(values: Floats) -> Floats:
    rest = _left_over(values, np.full((len(values), 1), 1 / np.sqrt(max(len(values), 1))))
    return np.full(len(values), np.nan) if rest is None else rest


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats, Bools]:
    a = vector("x", x)
    b = vector("y", y, len(a))
    keep = ~(np.isnan(a) | np.isnan(b))
    return a[keep], b[keep], keep


def _kept(clusters: Any, keep: Bools) -> Any:
    if clusters is None:
        return None
    labels = np.asarray(clusters)
    if labels.shape != keep.shape:
        raise ValueError(f"clusters must hold {len(keep)} labels, one a row, got shape {labels.shape}")
    return labels[keep]
