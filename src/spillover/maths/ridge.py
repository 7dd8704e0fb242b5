"""Grouped, repeated cross-validation of ridge regression, in closed form. Knows matrices and folds only.

With X fixed, what is factorised in a fold does not depend on y: targets, permutations of them and penalties
all come from one singular value decomposition a split and a matrix product. Equal to loops of scikit-learn's
StandardScaler and Ridge (or LinearRegression) to 1e-10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, Ints, codes, matrix
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.estimate import Estimate
from spillover.maths.nadeau_bengio import corrected_difference, corrected_interval
from spillover.maths.permutation import exceedance, permutations

ALPHAS = tuple(float(10.0**e) for e in np.arange(-1, 6.5, 0.5))


@dataclass(frozen=True)
class Ridge:
    """What is fitted in each split: columns standardised on the training rows, free intercept, `alphas`.

    alphas: penalties >= 0 on standardised columns; several are chosen among within the training rows, each
    target by itself; 0 is least squares (least norm where columns exceed rows). inner: how they are chosen:
    leave one group out (exact, closed form) or generalised cross-validation (rows as independent: too small a
    penalty when groups matter).
    """

    alphas: tuple[float, ...] = ALPHAS
    inner: Literal["group", "gcv"] = "group"

    def __post_init__(self) -> None:
        if not self.alphas or min(self.alphas) < 0:
            raise ValueError(f"alphas must be one or more penalties >= 0, got {self.alphas}")
        if self.inner not in ("group", "gcv"):
            raise ValueError(f"inner must be 'group' or 'gcv', got {self.inner!r}")


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold results for T targets over R repeats of K folds of n rows.

    r2, rmse: (T, R, K), each fold against its own test mean (scikit-learn's r2_score); NaN r2 where the test
    rows do not vary or are fewer than 2. mean_r2, mean_rmse: the same for the training rows' mean as
    prediction. predicted: (T, R, n) out-of-fold predictions. skill: (T, R) = 1 - squared error / squared
    error of the training mean, pooled over the folds of a repeat: 0 is no better than the mean. alpha: (T, R,
    K) penalty chosen. test_share: mean test rows / training rows.
    """

    r2: Floats
    rmse: Floats
    mean_r2: Floats
    mean_rmse: Floats
    predicted: Floats
    skill: Floats
    alpha: Floats
    test_share: float

    def score(self, target: int = 0, level: float = 0.95) -> Estimate:
        """Mean R2 over splits with the Nadeau-Bengio interval; n is the number of splits."""
        return corrected_interval(self.r2[target], self.test_share, level)

    def gain(self, target: int = 0, level: float = 0.95) -> Estimate:
        """Mean over splits of the mean predictor's RMSE less the model's: above 0, the model is better."""
        return corrected_difference(self.mean_rmse[target], self.rmse[target], self.test_share, level)


def cross_validate(
    x: ArrayLike, y: ArrayLike, folds: ArrayLike, groups: Any = None, model: Ridge | None = None
) -> CrossValidation:
    """Fit and predict every fold of every repeat: x (n, d), y (n,) or (n, T), folds (R, n) `grouped_folds`.

    groups (n,) labels for the inner leave-one-group-out (None: each row); no fold may split one.
    """
    features, targets, splits, code = _checked(x, y, folds, groups)
    model = model or Ridge()
    (repeats, n), count, k = splits.shape, targets.shape[1], int(splits.max()) + 1
    r2, rmse, mean_r2, mean_rmse, alpha = (np.full((count, repeats, k), np.nan) for _ in range(5))
    predicted = np.full((count, repeats, n), np.nan)
    shares = []
    for repeat, fold, held in _splits(splits):
        guess, chosen = _fit_predict(features, targets, ~held, code, model)
        truth = targets[held].T
        error = ((truth - guess) ** 2).sum(axis=1)
        base = ((truth - targets[~held].mean(axis=0)[:, None]) ** 2).sum(axis=1)
        total = ((truth - truth.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        varies = total > 1e-20 * np.maximum(1.0, (truth**2).sum(axis=1))
        for kept, squares in ((r2, error), (mean_r2, base)):
            kept[:, repeat, fold] = np.where(varies, 1 - squares / np.where(varies, total, 1.0), np.nan)
        rmse[:, repeat, fold] = np.sqrt(error / held.sum())
        mean_rmse[:, repeat, fold] = np.sqrt(base / held.sum())
        predicted[:, repeat, held], alpha[:, repeat, fold] = guess, chosen
        shares.append(held.sum() / (n - held.sum()))
    sizes = np.array([[(row == fold).sum() for fold in range(k)] for row in splits])
    skill = _skill((rmse**2 * sizes).sum(axis=2), (mean_rmse**2 * sizes).sum(axis=2))
    return CrossValidation(r2, rmse, mean_r2, mean_rmse, predicted, skill, alpha, float(np.mean(shares)))


def permuted_skill(
    x: ArrayLike, y: ArrayLike, folds: ArrayLike, orders: Ints, groups: Any = None, model: Ridge | None = None
) -> Floats:
    """Mean skill over repeats for each target and row order, (T, draws); all refitted, penalty included.

    orders (draws, n) from `permutations`; use the same ones for several x (layers), for `max_t`.
    """
    features, targets, splits, code = _checked(x, y, folds, groups)
    model = model or Ridge()
    draws, count = len(orders), targets.shape[1]
    stacked = targets[orders].transpose(1, 2, 0).reshape(len(targets), -1)  # (n, T * draws)
    error, base = np.zeros((len(splits), count * draws)), np.zeros((len(splits), count * draws))
    for repeat, _, held in _splits(splits):
        guess, _ = _fit_predict(features, stacked, ~held, code, model)
        truth = stacked[held].T
        error[repeat] += ((truth - guess) ** 2).sum(axis=1)
        base[repeat] += ((truth - stacked[~held].mean(axis=0)[:, None]) ** 2).sum(axis=1)
    return np.asarray(_skill(error, base).mean(axis=0).reshape(count, draws))


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    folds: ArrayLike,
    groups: Any = None,
    model: Ridge | None = None,
    how: Resampling = DEFAULT,
) -> tuple[Floats, Floats]:
    """(observed mean skill (T,), one-sided permutation p (T,)): do x say anything about y?

    With groups, whole groups of one size change places (see `permutations`).
    """
    targets = _columns(y)
    identity = np.arange(len(targets), dtype=np.int64)[None]
    orders = np.concatenate([identity, permutations(len(targets), how.draws, how.seed, groups)])
    skill = permuted_skill(x, targets, folds, orders, groups, model)
    return skill[:, 0], exceedance(skill[:, 0], skill[:, 1:], two_sided=False)


def _fit_predict(x: Floats, y: Floats, train: Bools, code: Ints, model: Ridge) -> tuple[Floats, Floats]:
    """Predictions for the held-out rows (T, held) and the penalties chosen (T,)."""
    inside, outside, targets = x[train], x[~train], y[train]
    centre, scale = inside.mean(axis=0), _scale(inside)
    u, singular, vt = np.linalg.svd((inside - centre) / scale, full_matrices=False)
    solid = singular > (singular[0] if len(singular) else 0.0) * max(inside.shape) * np.finfo(np.float64).eps
    u, singular, vt = u[:, solid], singular[solid], vt[solid]
    outer = ((outside - centre) / scale) @ vt.T
    mean = targets.mean(axis=0)
    coordinates = u.T @ (targets - mean)  # (rank, T)
    alphas = np.asarray(model.alphas)
    chosen = np.zeros(y.shape[1], dtype=np.int64)
    if len(alphas) > 1:
        chosen = _choose(u, singular, coordinates, targets - mean, code[train], model)
    guess = np.empty((y.shape[1], len(outside)))
    for index in np.unique(chosen):
        mine = chosen == index
        shrink = singular / (singular**2 + alphas[index])
        guess[mine] = ((outer * shrink) @ coordinates[:, mine] + mean[mine]).T
    return guess, alphas[chosen]


def _skill(error: Floats, base: Floats) -> Floats:
    """1 - error / base; NaN where the mean predictor makes no error, so that there is nothing to explain."""
    return np.asarray(1 - np.divide(error, base, out=np.full_like(error, np.nan), where=base > 0))


def _choose(u: Floats, singular: Floats, coordinates: Floats, y: Floats, code: Ints, model: Ridge) -> Ints:
    """Index of the penalty with the least inner error, for each target: (T,). The first of equals."""
    losses = np.empty((len(model.alphas), y.shape[1]))
    blocks = _blocks(code)
    if model.inner == "group" and sum(len(rows) for rows in blocks) < 2:
        raise ValueError("a training part holds a single group, so none can be left out; use more folds or one alpha")
    total, parts = (y**2).sum(axis=0), coordinates**2
    for index, alpha in enumerate(model.alphas):
        shrink = singular**2 / (singular**2 + alpha)
        if model.inner == "gcv":
            room = 1 - (1 + shrink.sum()) / len(y)
            residual = total - (1 - (1 - shrink) ** 2) @ parts
            losses[index] = residual / room**2 if room > 1e-10 else np.inf
        else:
            fitted = (u * shrink) @ coordinates
            losses[index] = _left_out_error(u, shrink, np.subtract(y, fitted, out=fitted), blocks)
    return np.asarray(np.argmin(losses, axis=0))


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


def _scale(x: Floats) -> Floats:
    """Standard deviation (ddof 0) of each column; 1 where constant up to rounding, as in StandardScaler."""
    variance = x.var(axis=0)
    eps = np.finfo(np.float64).eps
    constant = variance <= len(x) * eps * variance + (len(x) * x.mean(axis=0) * eps) ** 2
    return np.asarray(np.where(constant, 1.0, np.sqrt(variance)))


def _splits(folds: Ints) -> Iterator[tuple[int, int, Bools]]:
    for repeat, row in enumerate(folds):
        for fold in range(int(folds.max()) + 1):
            held = row == fold
            if held.any():
                yield repeat, fold, held


def _columns(y: ArrayLike) -> Floats:
    targets = np.asarray(y, dtype=np.float64)
    return matrix("y", targets[:, None] if targets.ndim == 1 else targets)


def _checked(x: ArrayLike, y: ArrayLike, folds: ArrayLike, groups: Any) -> tuple[Floats, Floats, Ints, Ints]:
    features, targets = matrix("x", x), _columns(y)
    splits = np.atleast_2d(np.asarray(folds, dtype=np.int64))
    n = len(features)
    if len(targets) != n or splits.shape[1] != n:
        raise ValueError(f"x has {n} rows, y {len(targets)}, folds {splits.shape[1]}; all three go by the same rows")
    code, names = codes("groups", np.arange(n) if groups is None else groups, n)
    for repeat, row in enumerate(splits):
        first = np.zeros(len(names), dtype=np.int64)
        first[code] = row
        if (first[code] != row).any():
            group = names[code[np.flatnonzero(first[code] != row)[0]]]
            raise ValueError(
                f"repeat {repeat} splits group {group!s} over folds; make folds with grouped_folds(groups)"
            )
        if len(np.unique(row)) < 2:
            raise ValueError(f"repeat {repeat} has a single fold; nothing is left to train on")
    return features, targets, splits, code
