"""Principal and random axes of activations. Knows rows of vectors, not where they came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix, same_width


@dataclass(frozen=True, eq=False)
class Axes:
    """Orthonormal axes through a mean, fitted on training rows.

    mean: (d,) of the training rows. axes: (k, d) rows orthonormal, by falling variance; each axis' largest
    entry (the first, if tied) is positive, so signs do not hang on the linear algebra library. variances:
    (k,) along each axis (ddof 1). share: of the total variance that the k axes hold, in [0, 1].
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
