"""Closed-form cross-validation against scikit-learn's loops, under the null, and what grouping is for.
The batched Lasso against scikit-learn's, one fit at a time, and what it must refuse.
"""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Lasso as SkLasso
from sklearn.linear_model import LassoCV, LinearRegression, RidgeCV
from sklearn.linear_model import Ridge as SkRidge
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spillover.maths.cross_validation import (
    cross_validate,
    grouped_folds,
    permutation_test,
    permuted_scores,
)
from spillover.maths.estimate import Resampling
from spillover.maths.permutation import permutations
from spillover.maths.regression import Lasso, Ridge


def data(seed: int, n: int = 48, d: int = 6, targets: int = 2) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 30, d) + rng.normal(size=d) * 10
    x[:, -1] = 3.3  # a constant column, as a dead feature is
    y = x[:, :1] * 0.2 + rng.normal(size=(n, targets)) * 3
    return x, y, np.arange(n) // 4


def loop(x: Any, y: Any, folds: Any, make: Any) -> tuple[Any, Any, Any]:
    """What one would write with scikit-learn: predictions, R2, RMSE of one target."""
    predicted = np.empty(folds.shape)
    r2, rmse = (np.empty((len(folds), folds.max() + 1)) for _ in range(2))
    for repeat, row in enumerate(folds):
        for fold in range(folds.max() + 1):
            held = row == fold
            guess = make(~held).fit(x[~held], y[~held]).predict(x[held])
            predicted[repeat, held] = guess
            r2[repeat, fold], rmse[repeat, fold] = (
                r2_score(y[held], guess),
                root_mean_squared_error(y[held], guess),
            )
    return predicted, r2, rmse


@pytest.mark.parametrize("d", [6, 80])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 10.0])
def test_fixed_penalty_equals_sklearn(d: int, alpha: float) -> None:
    x, y, groups = data(0, d=d)
    folds = grouped_folds(groups, 4, 3)
    ours = cross_validate(x, y, folds, Ridge((alpha,)), groups)
    for target in range(2):
        plain = LinearRegression() if alpha == 0 else SkRidge(alpha, solver="svd")
        predicted, r2, rmse = loop(x, y[:, target], folds, lambda _, p=plain: make_pipeline(StandardScaler(), p))
        assert np.allclose(ours.predicted[target], predicted, rtol=1e-10, atol=1e-10)
        assert np.allclose(ours.r2[target], r2, rtol=1e-9, atol=1e-10)
        assert np.allclose(ours.rmse[target], rmse, rtol=1e-10, atol=1e-10)


def test_linear_is_the_limit_of_no_penalty() -> None:
    x, y, groups = data(1)
    folds = grouped_folds(groups, 4, 2)
    limit = cross_validate(x, y, folds, Ridge((1e-10,)), groups).predicted
    assert np.allclose(limit, cross_validate(x, y, folds, Ridge((0.0,)), groups).predicted, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("d", [6, 60])
def test_inner_choice_equals_a_grid_search_that_leaves_one_group_out(size: int, d: int) -> None:
    rng = np.random.default_rng(2)
    x, y, groups = data(2, d=d)
    shuffled = rng.permutation(len(x)) // size
    groups = shuffled if size > 1 else rng.permutation(len(x))
    alphas = (0.1, 3.0, 30.0, 300.0)
    folds = grouped_folds(groups, 4, 1)
    ours = cross_validate(x, y, folds, Ridge(alphas), groups)
    for target in range(2):
        for fold in range(4):
            train = folds[0] != fold
            scaled = StandardScaler().fit_transform(x[train])
            search = GridSearchCV(
                SkRidge(solver="svd"),
                {"alpha": alphas},
                cv=LeaveOneGroupOut(),
                scoring=lambda m, a, b: -((m.predict(a) - b) ** 2).sum(),
            )
            # sums of squares, not means of group means: groups here are of one size
            search.fit(scaled, y[train, target], groups=groups[train])
            assert ours.alpha[target, 0, fold] == search.best_params_["alpha"]


def test_inner_folds_equal_a_grid_search_over_the_pipeline() -> None:
    x, y, _ = data(12, n=60, d=8)
    folds = grouped_folds(np.arange(60), 5, 2)
    alphas = (0.1, 3.0, 30.0, 300.0)
    ours = cross_validate(x, y, folds, Ridge(alphas, "folds"))
    for target in range(2):
        search = GridSearchCV(
            make_pipeline(StandardScaler(), SkRidge()), {"ridge__alpha": alphas}, scoring="neg_mean_squared_error", cv=5
        )
        _, r2, _ = loop(x, y[:, target], folds, lambda _, s=search: s)
        assert np.allclose(ours.r2[target], r2, rtol=0, atol=1e-10)


def test_gcv_equals_sklearns_leave_one_out_in_spirit_and_the_formula_exactly() -> None:
    x, y, _ = data(3)
    rows = np.arange(len(x))
    folds = grouped_folds(rows, 4, 1)
    alphas = (0.1, 3.0, 30.0, 300.0)
    ours = cross_validate(x, y, folds, Ridge(alphas, "gcv"), rows)
    loo = cross_validate(x, y, folds, Ridge(alphas), rows)
    for fold in range(4):
        train = folds[0] != fold
        z = StandardScaler().fit_transform(x[train])
        best = RidgeCV(alphas).fit(z, y[train, 0]).alpha_
        assert loo.alpha[0, 0, fold] == best
        scores = []
        for alpha in alphas:
            hat = z @ np.linalg.solve(z.T @ z + alpha * np.eye(z.shape[1]), z.T) + 1 / len(z)
            e = y[train, 0] - hat @ y[train, 0]
            scores.append((e @ e) / (1 - np.trace(hat) / len(z)) ** 2)
        assert ours.alpha[0, 0, fold] == alphas[int(np.argmin(scores))]


def test_permutations_as_one_matrix_equal_refitting_each() -> None:
    x, y, groups = data(4)
    folds = grouped_folds(groups, 4, 2)
    orders = permutations(len(x), 7, groups=groups)
    together = permuted_scores(x, y, folds, orders, Ridge(), groups).skill
    for target in range(2):
        for draw, order in enumerate(orders):
            alone = cross_validate(x, y[order, target], folds, Ridge(), groups)
            assert together[target, draw] == pytest.approx(alone.skill.mean(), abs=1e-12)


def test_skill_is_against_the_training_mean() -> None:
    x, y, groups = data(5)
    folds = grouped_folds(groups, 4, 1)
    result = cross_validate(x, y, folds, Ridge(), groups)
    base = np.empty(len(y))
    for fold in range(4):
        base[folds[0] == fold] = y[folds[0] != fold, 0].mean()
    direct = 1 - ((y[:, 0] - result.predicted[0, 0]) ** 2).sum() / ((y[:, 0] - base) ** 2).sum()
    assert result.skill[0, 0] == pytest.approx(direct, abs=1e-12)
    assert (result.mean_r2[result.mean_r2 == result.mean_r2] <= 0).all()


def test_no_relation_has_no_skill_and_the_test_holds_its_level() -> None:
    rng = np.random.default_rng(6)
    groups = np.arange(40) // 2
    folds = grouped_folds(groups, 5, 2)
    rejected = detected = 0
    for seed in range(150):
        x, y = rng.normal(size=(40, 5)), rng.normal(size=20)[groups] + 0.5 * rng.normal(size=40)
        resampling = Resampling(draws=99, seed=seed)
        rejected += permutation_test(x, y, folds, Ridge(inner="gcv"), groups, resampling)[1][0] <= 0.05
        detected += permutation_test(x, y + 1.2 * x[:, 0], folds, Ridge(inner="gcv"), groups, resampling)[1][0] <= 0.05
    assert 0.01 <= rejected / 150 <= 0.1
    assert detected / 150 > 0.85


def test_near_duplicates_across_folds_pretend_to_skill() -> None:
    """The reason for groups: noise that families share is 'predicted' when a family stands on both sides."""
    rng = np.random.default_rng(7)
    family = np.repeat(np.arange(40), 3)
    x = rng.normal(size=(40, 60))[family] + 0.1 * rng.normal(size=(120, 60))
    y = rng.normal(size=40)[family] + 0.1 * rng.normal(size=120)
    leaky = cross_validate(x, y, grouped_folds(np.arange(120), 5, 3), Ridge()).skill.mean()
    honest = cross_validate(x, y, grouped_folds(family, 5, 3), Ridge(), family).skill.mean()
    assert leaky > 0.5
    assert honest < 0.1


def test_score_and_gain_are_paired_over_splits() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(100, 4))
    y = x @ [1, 1, 0, 0] + rng.normal(size=100)
    result = cross_validate(x, y, grouped_folds(np.arange(100), 5, 10), Ridge())
    assert result.test_share == pytest.approx(0.25)
    assert result.score().n == 50 and result.score().low > 0.2
    assert result.gain().low > 0 and (result.gain().p or 1) < 0.01
    empty = cross_validate(x, rng.normal(size=100), grouped_folds(np.arange(100), 5, 10), Ridge()).gain()
    assert empty.low < 0 < empty.high


def test_a_constant_target_is_nan_not_zero() -> None:
    x, _, groups = data(9)
    result = cross_validate(x, np.full(len(x), 7.0), grouped_folds(groups, 4, 1), Ridge(), groups)
    assert np.isnan(result.r2).all() and np.isnan(result.skill).all() and np.isnan(result.score().estimate)
    assert np.allclose(result.predicted, 7)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"x": np.full((48, 6), np.nan)}, "x holds NaN"),
        ({"y": np.zeros(47)}, "x has 48 rows, y 47"),
        ({"folds": np.arange(48) % 4}, "repeat 0 splits group 0"),
        ({"folds": np.zeros(48)}, "single fold"),
        ({"groups": ["a"]}, "48 labels"),
    ],
)
def test_wrong_input_says_so(change: dict[str, Any], words: str) -> None:
    x, y, groups = data(10)
    given = {"x": x, "y": y, "folds": grouped_folds(groups, 4, 1), "groups": groups} | change
    with pytest.raises(ValueError, match=words):
        cross_validate(model=Ridge(), **given)


def test_a_training_part_of_one_group_cannot_choose_a_penalty() -> None:
    x, y, _ = data(11)
    halves = np.arange(48) // 24
    with pytest.raises(ValueError, match="single group"):
        cross_validate(x, y, halves, Ridge(), halves)
    assert np.isfinite(cross_validate(x, y, halves, Ridge((1.0,)), halves).predicted).all()


def test_models_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        Ridge((-1.0,))
    with pytest.raises(ValueError, match="'group', 'gcv' or 'folds', got 'loo'"):
        Ridge(inner="loo")


LASSO_ALPHAS = (1e-3, 0.1, 1.0, 10.0)


def clipped_data(seed: int, n: int = 80, d: int = 12, common: float = 0.0) -> tuple[Any, Any]:
    """Columns of unlike size that share a factor; scores on a 0-100 scale, two targets."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) + common * rng.normal(size=(n, 1))) * rng.uniform(0.1, 30, d) + 5
    x[:, -1] = 2.5  # a dead feature
    signal = 10 * (x[:, :1] / x[:, 0].std() - x[:, 1:2] / x[:, 1].std())
    return x, np.clip(60 + signal + 15 * rng.normal(size=(n, 2)), 0, 100)


@pytest.mark.parametrize("n,d,common", [(80, 12, 0.0), (80, 12, 4.0), (30, 50, 0.5)])
def test_every_penalty_equals_sklearn_solved_to_the_end(n: int, d: int, common: float) -> None:
    x, y = clipped_data(0, n, d, common)
    z = StandardScaler().fit_transform(x)
    coefficients = Lasso(LASSO_ALPHAS, tolerance=1e-10).path(z, y - y.mean(axis=0))
    for index, alpha in enumerate(LASSO_ALPHAS):
        for target in range(2):
            if n < d and alpha < 0.1:
                continue  # scikit-learn does not get there either
            exact = SkLasso(alpha, tol=1e-10, max_iter=100_000).fit(z, y[:, target])
            assert np.abs(z @ (coefficients[index][:, target] - exact.coef_)).max() < 1e-3 * y[:, target].std()
    assert (coefficients[-1] == 0).mean() > 0.5  # zeros are zeros, not small numbers
    assert (coefficients[:, -1] == 0).all()


def test_the_default_tolerance_is_enough_for_r2() -> None:
    x, y = clipped_data(1)
    z = StandardScaler().fit_transform(x)
    centred = y - y.mean(axis=0)
    rough, fine = (Lasso(LASSO_ALPHAS, tolerance=t).path(z, centred) for t in (1e-7, 1e-12))
    for loose, tight in zip(rough, fine, strict=True):
        assert abs(r2_score(centred, z @ loose) - r2_score(centred, z @ tight)) < 5e-4


def test_equals_a_grid_search_over_the_pipeline() -> None:
    x, y = clipped_data(2)
    folds = grouped_folds(np.arange(len(x)), 4, 2)
    ours = cross_validate(x, y, folds, Lasso(LASSO_ALPHAS))
    for repeat, row in enumerate(folds):
        for fold in range(4):
            held = row == fold
            search = GridSearchCV(
                make_pipeline(StandardScaler(), SkLasso(tol=1e-8, max_iter=100_000)),
                {"lasso__alpha": LASSO_ALPHAS},
                scoring="neg_mean_squared_error",
            )
            guess = search.fit(x[~held], y[~held, 0]).predict(x[held])
            assert ours.alpha[0, repeat, fold] == search.best_params_["lasso__alpha"]
            assert ours.r2[0, repeat, fold] == pytest.approx(r2_score(y[held, 0], guess), abs=1e-3)


def test_without_scaling_inside_it_equals_lasso_cv_behind_a_scaler() -> None:
    x, y = clipped_data(3)
    folds = grouped_folds(np.arange(len(x)), 4, 1)
    ours = cross_validate(x, y, folds, Lasso(LASSO_ALPHAS, scale_inside=False))
    for fold in range(4):
        held = folds[0] == fold
        search = make_pipeline(StandardScaler(), LassoCV(alphas=LASSO_ALPHAS, cv=5, tol=1e-8, max_iter=100_000))
        search.fit(x[~held], y[~held, 0])
        assert ours.alpha[0, 0, fold] == search[-1].alpha_


def test_lasso_permutations_as_one_problem_equal_refitting_each() -> None:
    x, y = clipped_data(4)
    folds = grouped_folds(np.arange(len(x)), 4, 1)
    orders = permutations(len(x), 5)
    together = permuted_scores(x, y, folds, orders, Lasso(LASSO_ALPHAS))
    for draw, order in enumerate(orders):
        alone = cross_validate(x, y[order], folds, Lasso(LASSO_ALPHAS))
        assert together.r2[:, draw] == pytest.approx(alone.r2.mean(axis=(1, 2)), abs=1e-3)
        assert together.rmse[:, draw] == pytest.approx(alone.rmse.mean(axis=(1, 2)), rel=1e-3)


def test_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    x, y = clipped_data(5, n=160)
    folds = grouped_folds(np.arange(len(x)), 5, 2)
    assert cross_validate(x, y, folds, Lasso(LASSO_ALPHAS)).skill.mean() > 0.2
    empty = np.random.default_rng(5).normal(size=len(x)) * 15
    assert cross_validate(x, empty, folds, Lasso(LASSO_ALPHAS)).skill.mean() < 0.05


@pytest.mark.parametrize(
    "given,words", [({"alphas": (0.0, 1.0)}, "> 0"), ({"inner_folds": 1}, "at least 2"), ({"tolerance": 0.0}, "above")]
)
def test_a_lasso_that_makes_no_sense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Lasso(**given)
