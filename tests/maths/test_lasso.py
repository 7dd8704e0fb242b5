"""The batched Lasso against scikit-learn's, one fit at a time, and what it must refuse."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Lasso as SkLasso
from sklearn.linear_model import LassoCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spillover.maths.cross_validation import cross_validate, grouped_folds, inner_splits, permuted_scores
from spillover.maths.permutation import permutations
from spillover.maths.regression import Lasso

ALPHAS = (1e-3, 0.1, 1.0, 10.0)


def data(seed: int, n: int = 80, d: int = 12, common: float = 0.0) -> tuple[Any, Any]:
    """Columns of unlike size that share a factor; scores on a 0-100 scale, two targets."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) + common * rng.normal(size=(n, 1))) * rng.uniform(0.1, 30, d) + 5
    x[:, -1] = 2.5  # a dead feature
    signal = 10 * (x[:, :1] / x[:, 0].std() - x[:, 1:2] / x[:, 1].std())
    return x, np.clip(60 + signal + 15 * rng.normal(size=(n, 2)), 0, 100)


@pytest.mark.parametrize("n,d,common", [(80, 12, 0.0), (80, 12, 4.0), (30, 50, 0.5)])
def test_every_penalty_equals_sklearn_solved_to_the_end(n: int, d: int, common: float) -> None:
    x, y = data(0, n, d, common)
    z = StandardScaler().fit_transform(x)
    found = Lasso(ALPHAS, tolerance=1e-10).path(z, y - y.mean(axis=0))
    for index, alpha in enumerate(ALPHAS):
        for target in range(2):
            if n < d and alpha < 0.1:
                continue  # scikit-learn does not get there either
            exact = SkLasso(alpha, tol=1e-10, max_iter=100_000).fit(z, y[:, target])
            assert np.abs(z @ (found[index][:, target] - exact.coef_)).max() < 1e-3 * y[:, target].std()
    assert (found[-1] == 0).mean() > 0.5  # zeros are zeros, not small numbers
    assert (found[:, -1] == 0).all()


def test_the_default_tolerance_is_enough_for_r2() -> None:
    x, y = data(1)
    z = StandardScaler().fit_transform(x)
    centred = y - y.mean(axis=0)
    rough, fine = (Lasso(ALPHAS, tolerance=t).path(z, centred) for t in (1e-7, 1e-12))
    for one, other in zip(rough, fine, strict=True):
        assert abs(r2_score(centred, z @ one) - r2_score(centred, z @ other)) < 5e-4


def test_equals_a_grid_search_over_the_pipeline() -> None:
    x, y = data(2)
    folds = grouped_folds(np.arange(len(x)), 4, 2)
    ours = cross_validate(x, y, folds, Lasso(ALPHAS))
    for repeat, row in enumerate(folds):
        for fold in range(4):
            held = row == fold
            search = GridSearchCV(
                make_pipeline(StandardScaler(), SkLasso(tol=1e-8, max_iter=100_000)),
                {"lasso__alpha": ALPHAS},
                scoring="neg_mean_squared_error",
            )
            guess = search.fit(x[~held], y[~held, 0]).predict(x[held])
            assert ours.alpha[0, repeat, fold] == search.best_params_["lasso__alpha"]
            assert ours.r2[0, repeat, fold] == pytest.approx(r2_score(y[held, 0], guess), abs=1e-3)


def test_without_scaling_inside_it_equals_lasso_cv_behind_a_scaler() -> None:
    x, y = data(3)
    folds = grouped_folds(np.arange(len(x)), 4, 1)
    ours = cross_validate(x, y, folds, Lasso(ALPHAS, scale_inside=False))
    for fold in range(4):
        held = folds[0] == fold
        search = make_pipeline(StandardScaler(), LassoCV(alphas=ALPHAS, cv=5, tol=1e-8, max_iter=100_000))
        search.fit(x[~held], y[~held, 0])
        assert ours.alpha[0, 0, fold] == search[-1].alpha_


def test_permutations_as_one_problem_equal_refitting_each() -> None:
    x, y = data(4)
    folds = grouped_folds(np.arange(len(x)), 4, 1)
    orders = permutations(len(x), 5)
    together = permuted_scores(x, y, folds, orders, Lasso(ALPHAS))
    for draw, order in enumerate(orders):
        alone = cross_validate(x, y[order], folds, Lasso(ALPHAS))
        assert together.r2[:, draw] == pytest.approx(alone.r2.mean(axis=(1, 2)), abs=1e-3)
        assert together.rmse[:, draw] == pytest.approx(alone.rmse.mean(axis=(1, 2)), rel=1e-3)


def test_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    x, y = data(5, n=160)
    folds = grouped_folds(np.arange(len(x)), 5, 2)
    assert cross_validate(x, y, folds, Lasso(ALPHAS)).skill.mean() > 0.2
    empty = np.random.default_rng(5).normal(size=len(x)) * 15
    assert cross_validate(x, empty, folds, Lasso(ALPHAS)).skill.mean() < 0.05


def test_inner_folds_are_kfolds_and_never_split_a_group() -> None:
    alone = [np.flatnonzero(held).tolist() for held in inner_splits(np.arange(11), 3)]
    assert alone == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    groups = np.array([5, 5, 2, 2, 2, 9, 9, 0, 5])
    for held in inner_splits(groups, 3):
        assert all(len(set(held[groups == one].tolist())) == 1 for one in set(groups.tolist()))
    assert sum(held.astype(int) for held in inner_splits(groups, 3)).tolist() == [1] * 9
    with pytest.raises(ValueError, match="single group"):
        list(inner_splits(np.zeros(6, dtype=int), 3))


@pytest.mark.parametrize(
    "given,words", [({"alphas": (0.0, 1.0)}, "> 0"), ({"inner_folds": 1}, "at least 2"), ({"tolerance": 0.0}, "above")]
)
def test_models_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Lasso(**given)
