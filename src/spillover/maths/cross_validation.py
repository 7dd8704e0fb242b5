"""Grouped, repeated cross-validation of linear models: folds, scores of all targets at once, corrected intervals.

With the features fixed, what is factorised in a fold does not depend on the target: targets, permutations of them and
penalties all come from one factorisation a split and a matrix product. The models themselves are in `regression`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, Ints, Labels, codes, matrix, quotient
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import exceedance, permutations


def grouped_folds(groups: Labels, k: int = 5, repeats: int = 10, seed: int = 0) -> Ints:
    """Fold number 0..k-1 of each row for each repeat: (repeats, n).

    groups: (n,) labels (question family, category); rows of one group always share a fold, so that
    near-duplicates never stand on both sides. Groups come in random order, each goes to the emptiest fold:
    folds are about equal in rows, none is empty, and repeats differ. The same seed gives the same folds.
    """
    labels = np.asarray(groups)
    code, names = codes("groups", labels, len(labels))
    if k < 2:
        raise ValueError(f"k must be at least 2 folds, got {k}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    if len(names) < k:
        raise ValueError(f"{k} folds need at least {k} groups, got {len(names)}; use fewer folds or finer groups")
    sizes = np.bincount(code, minlength=len(names))
    rng = np.random.default_rng(seed)
    folds = np.empty((repeats, len(code)), dtype=np.int64)
    for repeat in range(repeats):
        fold_of = np.empty(len(names), dtype=np.int64)
        filled = np.zeros(k, dtype=np.int64)
        for group in rng.permutation(len(names)):
            fold = int(np.argmin(filled))
            fold_of[group] = fold
            filled[fold] += sizes[group]
        folds[repeat] = fold_of[code]
    return folds


def inner_splits(groups: Ints, k: int) -> Iterator[Bools]:
    """Which rows each of k inner folds holds out: (n,) each; blocks in row order that never split a group.

    With every row a group of its own these are scikit-learn's `KFold(k)`, what `cv=k` means there. Fewer than k where
    large groups leave a fold empty; a ValueError where all rows would be in one.
    """
    n = len(groups)
    _, first, code, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError("a training part holds a single group, so none can be left out; use more folds or one alpha")
    order = np.argsort(first)
    starts = np.empty(len(sizes), dtype=np.int64)
    starts[order] = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    lengths = np.full(k, n // k)
    lengths[: n % k] += 1
    fold_of = np.repeat(np.arange(k), lengths)[starts][code]
    for fold in np.unique(fold_of):
        held = fold_of == fold
        if held.all():
            raise ValueError(f"groups are too large for {k} inner folds; use fewer inner folds, or one alpha")
        yield held


class Fitter(Protocol):
    """A model that can be cross-validated: `regression.Ridge`, `regression.Lasso`."""

    def fit_predict(self, inside: Floats, outside: Floats, targets: Floats, groups: Ints) -> tuple[Floats, Floats]:
        """Predictions (T, m) for `outside` (m, d) and the penalties chosen (T,).

        inside (n, d) and targets (n, T) are the training rows, groups (n,) their codes; nothing else may be learnt
        from, neither by what standardises the columns nor by what chooses a penalty.
        """


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold results for T targets over R repeats of K folds of n rows.

    r2, rmse: (T, R, K), each fold against its own test mean (scikit-learn's r2_score); NaN r2 where the test
        rows do not vary or are fewer than 2. rmse is in the target's unit.
    mean_r2, mean_rmse: (T, R, K) the same for the training rows' mean as prediction.
    predicted: (T, R, n) out-of-fold predictions.
    skill: (T, R) 1 - squared error / squared error of the training mean, pooled over the folds of a repeat: 0 is no
        better than the mean.
    alpha: (T, R, K) penalty chosen.
    test_share: mean over splits of test rows / training rows.
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
    """Scores under every row order, each refitted, penalty included: (T, draws) each. See `CrossValidation`.

    r2, rmse: mean over all splits, as published.
    skill: mean over repeats.
    """

    r2: Floats
    rmse: Floats
    skill: Floats


def cross_validate(
    x: ArrayLike, y: ArrayLike, folds: ArrayLike, model: Fitter, groups: Labels | None = None
) -> CrossValidation:
    """Fit and predict every fold of every repeat: x (n, d), y (n,) or (n, T), folds (R, n) from `grouped_folds`.

    groups: (n,) labels, for what the model chooses within the training rows (None: each row alone). A ValueError where
    a fold splits a group, or nothing is left to train on.
    """
    features, targets, splits, code = _checked(x, y, folds, groups)
    (repeats, n), count, k = splits.shape, targets.shape[1], int(splits.max()) + 1
    r2, rmse, mean_r2, mean_rmse, alpha = (np.full((count, repeats, k), np.nan) for _ in range(5))
    predicted = np.full((count, repeats, n), np.nan)
    shares = []
    for repeat, fold, held in _splits(splits):
        guess, chosen = model.fit_predict(features[~held], features[held], targets[~held], code[~held])
        error, base, total = _squares(guess, targets[held].T, targets[~held].mean(axis=0))
        r2[:, repeat, fold], mean_r2[:, repeat, fold] = _explained(error, total), _explained(base, total)
        rmse[:, repeat, fold] = np.sqrt(error / held.sum())
        mean_rmse[:, repeat, fold] = np.sqrt(base / held.sum())
        predicted[:, repeat, held], alpha[:, repeat, fold] = guess, chosen
        shares.append(held.sum() / (n - held.sum()))
    sizes = np.array([[(row == fold).sum() for fold in range(k)] for row in splits])
    skill = _explained((rmse**2 * sizes).sum(axis=2), (mean_rmse**2 * sizes).sum(axis=2))
    return CrossValidation(r2, rmse, mean_r2, mean_rmse, predicted, skill, alpha, float(np.mean(shares)))


def permuted_scores(
    x: ArrayLike, y: ArrayLike, folds: ArrayLike, orders: Ints, model: Fitter, groups: Labels | None = None
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
        r2.append(_explained(squares, total))
        rmse.append(np.sqrt(squares / held.sum()))
    shape = (count, draws)
    return PermutedScores(
        _mean(np.array(r2)).reshape(shape),
        _mean(np.array(rmse)).reshape(shape),
        np.asarray(_explained(error, base).mean(axis=0).reshape(shape)),
    )


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    folds: ArrayLike,
    model: Fitter,
    groups: Labels | None = None,
    resampling: Resampling = DEFAULT,
) -> tuple[Floats, Floats]:
    """(observed mean skill (T,), one-sided permutation p (T,)): do x say anything about y?

    With groups, whole groups of one size change places (see `permutations`).
    """
    targets = columns(y)
    identity = np.arange(len(targets), dtype=np.int64)[None]
    orders = np.concatenate([identity, permutations(len(targets), resampling.draws, resampling.seed, groups)])
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


def _explained(error: Floats, total: Floats) -> Floats:
    """1 - error / total; NaN where total is 0, so that there is nothing to explain."""
    return 1 - quotient(error, total)


def _mean(scores: Floats) -> Floats:
    """Mean over the splits (first axis) that have a score; NaN where none has."""
    there = ~np.isnan(scores)
    return quotient(np.where(there, scores, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64))


def _splits(folds: Ints) -> Iterator[tuple[int, int, Bools]]:
    for repeat, row in enumerate(folds):
        for fold in range(int(folds.max()) + 1):
            held = row == fold
            if held.any():
                yield repeat, fold, held


def _checked(x: ArrayLike, y: ArrayLike, folds: ArrayLike, groups: Labels | None) -> tuple[Floats, Floats, Ints, Ints]:
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


def corrected_interval(
    scores: ArrayLike, test_share: float, level: float = 0.95, null: float | None = None
) -> Estimate:
    """Mean score over all repeats and folds with the corrected resampled t interval (Nadeau-Bengio 2003).

    scores: any shape, one a train/test split, NaN where a fold had no score. test_share: test rows / training
    rows (1/4 for 5 folds). Variance = s^2 (1/J + test_share), J - 1 degrees of freedom: training sets
    overlap, so the J scores are far from J independent ones. n is J. `null` adds a two-sided p against that
    score.
    """
    if not test_share > 0:
        raise ValueError(f"test_share is test rows / training rows, above 0, got {test_share}; for 5 folds pass 0.25")
    values = np.asarray(scores, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Estimate.missing(tested=null is not None)
    spread = float(values.std(ddof=1)) if len(values) > 1 else NAN
    return interval_from_summary(float(values.mean()), spread, len(values), test_share, level, null)


def interval_from_summary(
    mean: float, spread: float, count: int, test_share: float, level: float = 0.95, null: float | None = None
) -> Estimate:
    """`corrected_interval` from the scores' mean and SD (ddof 1) over `count` splits, as tables print them."""
    from scipy.stats import t

    centre = float(mean)
    if count < 2 or np.isnan(spread):
        return Estimate(centre, NAN, NAN, count, None if null is None else NAN)
    error = float(np.sqrt(spread**2 * (1 / count + test_share)))
    reach = float(t.ppf((1 + level) / 2, count - 1)) * error
    if null is None:
        return Estimate(centre, centre - reach, centre + reach, count)
    if error <= 1e-14 * max(1.0, abs(centre)):
        return Estimate(centre, centre, centre, count, 1.0 if centre == null else NAN)
    return Estimate(
        centre, centre - reach, centre + reach, count, float(2 * t.sf(abs(centre - null) / error, count - 1))
    )


def corrected_difference(scores_a: ArrayLike, scores_b: ArrayLike, test_share: float, level: float = 0.95) -> Estimate:
    """Mean of a - b over the same splits, with the corrected interval and p against no difference."""
    a: Floats = np.asarray(scores_a, dtype=np.float64)
    b: Floats = np.asarray(scores_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"both need one score a split of the same folds, got shapes {a.shape} and {b.shape}")
    return corrected_interval(a - b, test_share, level, null=0.0)
