"""Grouped, repeated cross-validation of linear models, all targets at once. Knows matrices and folds only.

With X fixed, what is factorised in a fold does not depend on y: targets, permutations of them and penalties all come
from one factorisation a split and a matrix product. Which model is fitted is the `ridge` and `lasso` modules' affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, Ints, codes, matrix
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.estimate import Estimate
from spillover.maths.nadeau_bengio import corrected_difference, corrected_interval
from spillover.maths.permutation import exceedance, permutations


class Fitter(Protocol):
    """What can be cross-validated."""

    def fit_predict(self, inside: Floats, outside: Floats, targets: Floats, groups: Ints) -> tuple[Floats, Floats]:
        """Predictions (T, m) for `outside` (m, d) and the penalties chosen (T,).

        inside (n, d) and targets (n, T) are the training rows, groups (n,) their codes; nothing else may be learnt
        from, neither by what standardises the columns nor by what chooses a penalty.
        """


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


@dataclass(frozen=True, eq=False)
class PermutedScores:
    """Scores under every row order, each refitted, penalty included: (T, draws) each.

    r2, rmse: mean over all splits, as published; skill: mean over repeats. See `CrossValidation`.
    """

    r2: Floats
    rmse: Floats
    skill: Floats


def cross_validate(x: ArrayLike, y: ArrayLike, folds: ArrayLike, model: Fitter, groups: Any = None) -> CrossValidation:
    """Fit and predict every fold of every repeat: x (n, d), y (n,) or (n, T), folds (R, n) `grouped_folds`.

    groups (n,) labels for what the model chooses within the training rows (None: each row alone); no fold may split
    one.
    """
    features, targets, splits, code = _checked(x, y, folds, groups)
    (repeats, n), count, k = splits.shape, targets.shape[1], int(splits.max()) + 1
    r2, rmse, mean_r2, mean_rmse, alpha = (np.full((count, repeats, k), np.nan) for _ in range(5))
    predicted = np.full((count, repeats, n), np.nan)
    shares = []
    for repeat, fold, held in _splits(splits):
        guess, chosen = model.fit_predict(features[~held], features[held], targets[~held], code[~held])
        error, base, total = _squares(guess, targets[held].T, targets[~held].mean(axis=0))
        r2[:, repeat, fold], mean_r2[:, repeat, fold] = _r2(error, total), _r2(base, total)
        rmse[:, repeat, fold] = np.sqrt(error / held.sum())
        mean_rmse[:, repeat, fold] = np.sqrt(base / held.sum())
        predicted[:, repeat, held], alpha[:, repeat, fold] = guess, chosen
        shares.append(held.sum() / (n - held.sum()))
    sizes = np.array([[(row == fold).sum() for fold in range(k)] for row in splits])
    skill = _skill((rmse**2 * sizes).sum(axis=2), (mean_rmse**2 * sizes).sum(axis=2))
    return CrossValidation(r2, rmse, mean_r2, mean_rmse, predicted, skill, alpha, float(np.mean(shares)))


def permuted_scores(
    x: ArrayLike, y: ArrayLike, folds: ArrayLike, orders: Ints, model: Fitter, groups: Any = None
) -> PermutedScores:
    """R2, RMSE and skill for each target and row order; one pass over the folds serves them all.

    orders (draws, n) from `permutations`; use the same ones for several x (layers), for `max_t`.
    """
    features, targets, splits, code = _checked(x, y, folds, groups)
    draws, count = len(orders), targets.shape[1]
    stacked = targets[orders].transpose(1, 2, 0).reshape(len(targets), -1)  # (n, T * draws)
    r2, rmse = [], []
    error, base = np.zeros((len(splits), count * draws)), np.zeros((len(splits), count * draws))
    for repeat, _, held in _splits(splits):
        guess, _ = model.fit_predict(features[~held], features[held], stacked[~held], code[~held])
        squares, plain, total = _squares(guess, stacked[held].T, stacked[~held].mean(axis=0))
        error[repeat] += squares
        base[repeat] += plain
        r2.append(_r2(squares, total))
        rmse.append(np.sqrt(squares / held.sum()))
    shape = (count, draws)
    return PermutedScores(
        _mean(np.array(r2)).reshape(shape),
        _mean(np.array(rmse)).reshape(shape),
        np.asarray(_skill(error, base).mean(axis=0).reshape(shape)),
    )


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    folds: ArrayLike,
    model: Fitter,
    groups: Any = None,
    how: Resampling = DEFAULT,
) -> tuple[Floats, Floats]:
    """(observed mean skill (T,), one-sided permutation p (T,)): do x say anything about y?

    With groups, whole groups of one size change places (see `permutations`).
    """
    targets = columns(y)
    identity = np.arange(len(targets), dtype=np.int64)[None]
    orders = np.concatenate([identity, permutations(len(targets), how.draws, how.seed, groups)])
    skill = permuted_scores(x, targets, folds, orders, model, groups).skill
    return skill[:, 0], exceedance(skill[:, 0], skill[:, 1:], two_sided=False)


def columns(y: ArrayLike) -> Floats:
    """Targets (n,) or (n, T) as (n, T); NaN is refused."""
    targets = np.asarray(y, dtype=np.float64)
    return matrix("y", targets[:, None] if targets.ndim == 1 else targets)


def _squares(guess: Floats, truth: Floats, mean: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared errors (T,) of the guess (T, m), of the training mean (T,), and about the test rows' own mean.

    The last is 0 where the test rows do not vary.
    """
    error = ((truth - guess) ** 2).sum(axis=1)
    base = ((truth - mean[:, None]) ** 2).sum(axis=1)
    total = ((truth - truth.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    varies = total > 1e-20 * np.maximum(1.0, (truth**2).sum(axis=1))
    return error, base, np.where(varies, total, 0.0)


def _r2(error: Floats, total: Floats) -> Floats:
    return np.asarray(1 - np.divide(error, total, out=np.full_like(error, np.nan), where=total > 0))


def _skill(error: Floats, base: Floats) -> Floats:
    """1 - error / base; NaN where the mean predictor makes no error, so that there is nothing to explain."""
    return np.asarray(1 - np.divide(error, base, out=np.full_like(error, np.nan), where=base > 0))


def _mean(scores: Floats) -> Floats:
    """Mean over the splits (first axis) that have a score; NaN where none has."""
    there = ~np.isnan(scores)
    counts = there.sum(axis=0)
    sums = np.where(there, scores, 0.0).sum(axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full(scores.shape[1:], np.nan), where=counts > 0))


def _splits(folds: Ints) -> Iterator[tuple[int, int, Bools]]:
    for repeat, row in enumerate(folds):
        for fold in range(int(folds.max()) + 1):
            held = row == fold
            if held.any():
                yield repeat, fold, held


def _checked(x: ArrayLike, y: ArrayLike, folds: ArrayLike, groups: Any) -> tuple[Floats, Floats, Ints, Ints]:
    features, targets = matrix("x", x), columns(y)
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
