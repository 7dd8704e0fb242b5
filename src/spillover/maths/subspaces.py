"""Subspaces of activation space: principal and random axes, how far rows lie within them, how two of them agree.

The formulas are those of docs/method.md, section 3: a is a row, mu the axes' mean, P the projector on the axes. A row
at the mean has no direction: its overlap is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, Labels, codes, matrix, quotient, same_width


@dataclass(frozen=True, eq=False)
class Axes:
    """Orthonormal axes through a mean, fitted on training rows.

    mean: (d,) of the training rows.
    axes: (k, d) orthonormal rows, by falling variance; each axis' largest entry (the first, if tied) is positive, so
        that signs do not depend on the linear algebra library.
    variances: (k,) of the training rows along each axis (ddof 1).
    share: share of the total variance that the k axes hold, in [0, 1].
    """

    mean: Floats
    axes: Floats
    variances: Floats
    share: float

    @property
    def k(self) -> int:
        """How many axes."""
        return len(self.axes)

    def project(self, rows: ArrayLike) -> Floats:
        """Coordinates (n, k) of rows (n, d), centred at the training mean."""
        x = matrix("rows", rows)
        same_width("rows", x, "axes", self.axes)
        return np.asarray((x - self.mean) @ self.axes.T)

    def first(self, k: int) -> Axes:
        """The same with its first k axes only."""
        if not 1 <= k <= self.k:
            raise ValueError(f"k must lie in 1..{self.k}, got {k}")
        total = self.variances.sum() / self.share
        return Axes(self.mean, self.axes[:k], self.variances[:k], float(self.variances[:k].sum() / total))


def principal_axes(rows: ArrayLike, k: int | None = None, variance: float | None = None) -> Axes:
    """Principal axes of rows (n, d), centred at their mean: the first `k`, or as few as hold `variance`.

    k: 1..rank. variance in (0, 1]: 0.95 is 95% (the published code stored int(0.95) = 0 axes). Pass one of
    the two.
    """
    x = matrix("rows", rows)
    if (k is None) == (variance is None):
        raise ValueError(f"pass either k or variance, got k={k} and variance={variance}")
    if len(x) < 2:
        raise ValueError(f"principal axes need at least 2 rows, got {len(x)}")
    if variance is not None and not 0 < variance <= 1:
        raise ValueError(f"variance is a share in (0, 1], got {variance}; for 95% pass 0.95")
    centre = x.mean(axis=0)
    _, singular, vt = np.linalg.svd(x - centre, full_matrices=False)
    scale = max(float(singular[0]), float(np.abs(x).max())) if len(singular) else 0.0
    rank = int((singular > scale * max(x.shape) * np.finfo(np.float64).eps).sum())
    if rank == 0:
        raise ValueError(f"all {len(x)} rows are equal, so they have no axes; check what was captured")
    variances = singular[:rank] ** 2 / (len(x) - 1)
    shares = np.cumsum(variances) / variances.sum()
    if k is None:
        assert variance is not None
        k = min(int(np.searchsorted(shares, variance - 1e-12)) + 1, rank)
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= rank:
        raise ValueError(f"k must be a whole number in 1..{rank} (the rank of {x.shape[0]} rows), got {k!r}")
    return Axes(centre, _signed(vt[:k]), variances[:k], float(shares[k - 1]))


def random_axes(k: int, d: int, rng: np.random.Generator) -> Floats:
    """k orthonormal axes in d dimensions (k, d), uniformly distributed: QR of a Gaussian, signs by R."""
    if not 1 <= k <= d:
        raise ValueError(f"k must lie in 1..d = {d}, got {k}")
    q, r = np.linalg.qr(rng.standard_normal((d, k)))
    signs = np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray((q * signs).T)


def _signed(axes: Floats) -> Floats:
    """Each axis turned so that its largest entry is positive."""
    size = np.abs(axes)
    first_largest = np.argmax(size >= size.max(axis=1, keepdims=True) * (1 - 1e-9), axis=1)
    signs = np.sign(axes[np.arange(len(axes)), first_largest])
    return np.asarray(axes * np.where(signs == 0, 1.0, signs)[:, None])


def overlap(rows: ArrayLike, axes: Axes) -> Floats:
    """norm(P (a - mu)) / norm(a - mu) per row: (n,) in [0, 1]; 1 is wholly within the axes."""
    x, centred = _centred(rows, axes)
    return _share_of(np.linalg.norm(centred @ axes.axes.T, axis=1), np.linalg.norm(centred, axis=1), x)


def explained_share(rows: ArrayLike, axes: Axes) -> Floats:
    """1 - norm(residual)^2 / norm(a - mu)^2 per row: (n,) in [0, 1]. By Pythagoras it is overlap squared."""
    return overlap(rows, axes) ** 2


def random_control(rows: ArrayLike, axes: Axes, draws: int, rng: np.random.Generator) -> Floats:
    """Overlap with random orthonormal axes of the same k and mean: (draws, n).

    For any fixed row the expected *square* is exactly k/d (its distribution is Beta(k/2, (d-k)/2)); rows of
    one draw share their axes, so a p-value for a statistic over rows is its rank among the draws.
    """
    x, centred = _centred(rows, axes)
    norms = np.linalg.norm(centred, axis=1)
    basis = np.linalg.qr(centred.T)[0] if len(x) < x.shape[1] else None  # rows span at most n of the d dimensions
    inside = centred if basis is None else centred @ basis
    control = np.empty((draws, len(x)))
    for draw in range(draws):
        directions = random_axes(axes.k, x.shape[1], rng)
        seen = directions if basis is None else directions @ basis
        control[draw] = _share_of(np.linalg.norm(inside @ seen.T, axis=1), norms, x)
    return control


def evaluation_control(rows: ArrayLike, k: int, groups: Labels | None = None) -> Floats:
    """Overlap of each row with k principal axes of the *other* rows, centred at their mean: (n,).

    The upper control: how well prompts of the same set span each other. groups (n,) leaves out the row's
    whole family (None: the row alone); fitted with the row itself, as published, the row explains itself. NaN
    where the others have fewer than k axes.
    """
    x = matrix("rows", rows)
    code, names = codes("groups", np.arange(len(x)) if groups is None else groups, len(x))
    turned = np.linalg.qr(x.T)[1].T if len(x) < x.shape[1] else x  # same inner products, fewer columns
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    result = np.full(len(x), np.nan)
    for group in range(len(names)):
        held = code == group
        others = turned[~held]
        if len(others) <= k:
            continue
        centre = others.mean(axis=0)
        top = _top_axes(others - centre, k)
        if top is not None:
            centred = turned[held] - centre
            lengths = np.linalg.norm(centred, axis=1)
            result[held] = _share_of(np.linalg.norm(centred @ top.T, axis=1), lengths, turned[held])
    return result


def reconstruction_cosine(rows: ArrayLike, axes: Axes) -> Floats:
    """cos(mu + P (a - mu), a) per row: (n,) in [-1, 1]; NaN where either has no length."""
    x, centred = _centred(rows, axes)
    rebuilt = axes.mean + centred @ axes.axes.T @ axes.axes
    lengths = np.linalg.norm(rebuilt, axis=1) * np.linalg.norm(x, axis=1)
    return np.asarray(np.clip(_share_of((rebuilt * x).sum(axis=1), lengths, x), -1.0, 1.0))


def mahalanobis(rows: ArrayLike, axes: Axes) -> Floats:
    """sqrt(sum_j c_j^2 / variance_j) over the k coordinates: (n,), in training standard deviations.

    It says nothing of the d - k directions that the axes leave out.
    """
    coordinates = axes.project(rows)
    return np.asarray(np.sqrt((coordinates**2 / axes.variances).sum(axis=1)))


def principal_angles(axes_a: ArrayLike, axes_b: ArrayLike) -> Floats:
    """Angles between the spans of two orthonormal sets (k1, d), (k2, d): (min(k1, k2),) radians, ascending.

    Mean cos^2 over the angles of two random k-planes is exactly k/d on average: compare with that, not with
    0.
    """
    from scipy.linalg import subspace_angles

    a, b = matrix("axes_a", axes_a), matrix("axes_b", axes_b)
    same_width("axes_a", a, "axes_b", b)
    for name, axes in (("axes_a", a), ("axes_b", b)):
        if not np.allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-6):
            raise ValueError(f"{name} must have orthonormal rows; pass `Axes.axes` or `random_axes`")
    return np.asarray(subspace_angles(a.T, b.T)[::-1], dtype=np.float64)


def subspace_similarity(axes_a: ArrayLike, axes_b: ArrayLike) -> float:
    """Mean cos^2 of the principal angles, in [0, 1]; k/d expected of random planes of equal k."""
    a, b = matrix("axes_a", axes_a), matrix("axes_b", axes_b)
    same_width("axes_a", a, "axes_b", b)
    return float(((a @ b.T) ** 2).sum() / min(len(a), len(b)))


def _centred(rows: ArrayLike, axes: Axes) -> tuple[Floats, Floats]:
    x = matrix("rows", rows)
    same_width("rows", x, "axes", axes.axes)
    return x, x - axes.mean


def _share_of(part: Floats, whole: Floats, rows: Floats) -> Floats:
    """part / whole, NaN where whole is nothing beside the rows' own size (rounding has no direction)."""
    return quotient(part, whole, 1e-14 * np.linalg.norm(rows, axis=1))


def _top_axes(centred: Floats, k: int) -> Floats | None:
    """k leading right singular vectors (k, d) by the smaller Gram matrix; None where the rank is below k."""
    from scipy.linalg import eigh

    n, d = centred.shape
    gram = centred @ centred.T if n < d else centred.T @ centred
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=(max(size - k, 0), size - 1))
    if len(values) < k or values[0] <= values[-1] * size * 1e-14:
        return None
    return np.asarray((vectors / np.sqrt(values)).T @ centred if n < d else vectors.T)
