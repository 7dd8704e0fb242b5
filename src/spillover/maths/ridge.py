"""Ridge regression and least squares for many targets, penalties chosen within. Knows matrices only.

One factorisation serves every target, permutation and penalty (`cross_validation`). Equal to loops of scikit-learn's
StandardScaler and Ridge (or LinearRegression) to 1e-10: the smaller Gram matrix is diagonalised where it is
conditioned well enough for that, else the columns' singular values are found directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spillover.maths.arrays import Bools, Floats, Ints
from spillover.maths.standardise import inner_splits, standardised

ALPHAS = tuple(float(10.0**e) for e in np.arange(-1, 6.5, 0.5))
WELL_CONDITIONED = 1e5  # of a Gram matrix: its eigenvalues' relative error is eps times this


@dataclass(frozen=True)
class Ridge:
    """What is fitted in each split: columns standardised on the training rows, free intercept, `alphas`.

    alphas: penalties >= 0 on standardised columns; several are chosen among within the training rows, each
    target by itself; 0 is least squares (least norm where columns exceed rows). inner: how they are chosen:
    leave one group out (exact, closed form), generalised cross-validation (rows as independent: too small a
    penalty when groups matter), or the least mean squared error over `inner_folds` folds that never split a group,
    columns standardised anew in each (what a grid search over a pipeline does).
    """

    alphas: tuple[float, ...] = ALPHAS
    inner: Literal["group", "gcv", "folds"] = "group"
    inner_folds: int = 5

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) < 0:
            raise ValueError(f"alphas must be one or more penalties >= 0, got {self.alphas}")
        if self.inner not in ("group", "gcv", "folds"):
            raise ValueError(f"inner must be 'group', 'gcv' or 'folds', got {self.inner!r}")
        if self.inner_folds < 2:
            raise ValueError(f"inner_folds must be at least 2, got {self.inner_folds}")

    def fit_predict(self, inside: Floats, outside: Floats, targets: Floats, groups: Ints) -> tuple[Floats, Floats]:
        """Predictions (T, m) for rows outside (m, d) and the penalties chosen (T,); see `cross_validation.Fitter`."""
        alphas = np.asarray(self.alphas)
        fit = _Factors(inside, outside, targets, min(self.alphas))
        chosen = np.zeros(targets.shape[1], dtype=np.int64)
        if len(alphas) > 1:
            if self.inner == "folds":
                losses = self._fold_errors(inside, targets, groups)
            else:
                losses = fit.gcv(alphas) if self.inner == "gcv" else fit.left_out(alphas, groups)
            chosen = np.argmin(losses, axis=0).astype(np.int64)
        guess = np.empty((targets.shape[1], len(outside)))
        for index in np.unique(chosen):
            mine = chosen == index
            guess[mine] = fit.predict(alphas[index], mine).T
        return guess, alphas[chosen]

    def _fold_errors(self, inside: Floats, targets: Floats, groups: Ints) -> Floats:
        """Mean over inner folds of the mean squared error: (alphas, T)."""
        losses, folds = np.zeros((len(self.alphas), targets.shape[1])), 0
        for held in inner_splits(groups, self.inner_folds):
            fit = _Factors(inside[~held], inside[held], targets[~held], min(self.alphas))
            for index, alpha in enumerate(self.alphas):
                losses[index] += ((targets[held] - fit.predict(alpha)) ** 2).mean(axis=0)
            folds += 1
        return losses / folds


class _Factors:
    """Standardised training rows Z = u diag(s) v', kept as what predictions for other rows and targets need."""

    def __init__(self, inside: Floats, outside: Floats, targets: Floats, least: float) -> None:
        self.z, other = standardised(inside, outside)
        self.u: Floats | None
        self.mean = targets.mean(axis=0)
        self.y = targets - self.mean
        n, d = self.z.shape
        wide = n < d
        gram = self.z @ self.z.T if wide else self.z.T @ self.z
        values, vectors = np.linalg.eigh(gram)
        top = float(values[-1]) if len(values) else 0.0
        lowest = float(values[1] if wide and n > 1 else values[0]) if len(values) else 0.0  # centred rows: one is 0
        if top > WELL_CONDITIONED * (max(lowest, 0.0) + least):
            u, singular, vt = np.linalg.svd(self.z, full_matrices=False)
            solid = singular > (singular[0] if len(singular) else 0.0) * max(n, d) * _EPS
            self.u, self.singular = u[:, solid], singular[solid]
            self.coordinates, self.outer = self.u.T @ self.y, other @ vt[solid].T  # (rank, T), (m, rank)
            return
        solid = values > top * max(n, d) * _EPS
        self.singular, vectors = np.sqrt(values[solid]), vectors[:, solid]
        if wide:
            self.u = vectors
            self.coordinates, self.outer = vectors.T @ self.y, (other @ self.z.T) @ vectors / self.singular
        else:
            self.u, self._v = None, vectors
            self.coordinates = vectors.T @ (self.z.T @ self.y) / self.singular[:, None]
            self.outer = other @ vectors

    def predict(self, alpha: float, which: Bools | slice = slice(None)) -> Floats:
        """Predictions (m, targets) of the targets asked for, at one penalty."""
        shrink = self.singular / (self.singular**2 + alpha)
        return np.asarray((self.outer * shrink) @ self.coordinates[:, which] + self.mean[which])

    def gcv(self, alphas: Floats) -> Floats:
        """Generalised cross-validation's error, up to a factor: (alphas, T)."""
        n, losses = len(self.y), np.empty((len(alphas), self.y.shape[1]))
        total, parts = (self.y**2).sum(axis=0), self.coordinates**2
        for index, alpha in enumerate(alphas):
            shrink = self.singular**2 / (self.singular**2 + alpha)
            room = 1 - (1 + shrink.sum()) / n
            residual = total - (1 - (1 - shrink) ** 2) @ parts
            losses[index] = residual / room**2 if room > 1e-10 else np.inf
        return losses

    def left_out(self, alphas: Floats, groups: Ints) -> Floats:
        """Squared error with each group left out, exactly: (alphas, T)."""
        losses, blocks = np.empty((len(alphas), self.y.shape[1])), _blocks(groups)
        if sum(len(rows) for rows in blocks) < 2:
            raise ValueError(
                "a training part holds a single group, so none can be left out; use more folds or one alpha"
            )
        u = self.z @ (self._v / self.singular) if self.u is None else self.u
        for index, alpha in enumerate(alphas):
            shrink = self.singular**2 / (self.singular**2 + alpha)
            fitted = (u * shrink) @ self.coordinates
            losses[index] = _left_out_error(u, shrink, np.subtract(self.y, fitted, out=fitted), blocks)
        return losses


_EPS = float(np.finfo(np.float64).eps)


def _left_out_error(u: Floats, shrink: Floats, residual: Floats, blocks: list[Ints]) -> Floats:
    """Squared error with each group left out, sum_g |(I - H_gg)^-1 e_g|^2, H with intercept; inf if singular.

    blocks: one array (groups, size) of rows for each size of group.
    """
    n, total = len(u), np.zeros(residual.shape[1])
    for rows in blocks:
        if rows.shape[1] == 1:
            alone = slice(None) if len(rows) == n else rows[:, 0]
            room = 1 - 1 / n - (u[alone] ** 2) @ shrink
            if room.min() < 1e-10:
                return np.full_like(total, np.inf)
            total += room**-2 @ residual[alone] ** 2
            continue
        inside = u[rows]  # (groups, size, rank)
        hats = np.eye(rows.shape[1]) - 1 / n - (inside * shrink) @ inside.transpose(0, 2, 1)
        if np.linalg.eigvalsh(hats)[:, 0].min() < 1e-10:
            return np.full_like(total, np.inf)
        left_out = np.linalg.inv(hats) @ residual[rows]
        total += np.einsum("gst,gst->t", left_out, left_out)
    return total


def _blocks(code: Ints) -> list[Ints]:
    """Rows of each group, groups of one size together: arrays (groups, size)."""
    order = np.argsort(code, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    sizes = sorted({len(rows) for rows in groups})
    return [np.stack([rows for rows in groups if len(rows) == size]) for size in sizes]
