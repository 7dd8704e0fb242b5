"""One published cell of prediction (docs/method.md, section 2b) against the loops of scikit-learn of a script.

150 features of 320 or 1,414 questions, 5 folds x 10 repeats, the observed order and 200 permutations, R2 and RMSE. The
loop refits scaler, search and model in every split of every permutation, and `permutation_test_score` does so once for
each score. A few permutations of the loop are timed and scaled up: they all cost the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso as SkLasso
from sklearn.linear_model import LassoCV, LinearRegression
from sklearn.linear_model import Ridge as SkRidge
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.comparison import Comparison
from spillover.maths.cross_validation import PermutedScores, grouped_folds, permuted_scores
from spillover.maths.permutation import permutations
from spillover.maths.regression import Lasso, Ridge

FEATURES, FOLDS, REPEATS, PERMUTATIONS, SCORES = 150, 5, 10, 200, 2
ALPHAS = tuple(float(10.0**e) for e in range(-4, 2))
MSE = "neg_mean_squared_error"


def comparisons() -> Iterator[Comparison]:
    """Least squares, ridge and Lasso with an inner search, at both published sizes."""
    ways: tuple[tuple[str, Any, Callable[[], Any], float, float, int], ...] = (
        ("linear", Ridge((0.0,)), LinearRegression, 1e-10, 200, 5),
        (
            "ridge",
            Ridge(ALPHAS, "folds"),
            lambda: GridSearchCV(make_pipeline(StandardScaler(), SkRidge()), {"ridge__alpha": ALPHAS}, scoring=MSE),
            1e-10,
            200,
            3,
        ),
        (
            "lasso_grid",
            Lasso(ALPHAS),
            lambda: GridSearchCV(
                make_pipeline(StandardScaler(), SkLasso(max_iter=10_000)), {"lasso__alpha": ALPHAS}, scoring=MSE
            ),
            1e-3,
            20,
            2,
        ),
        (
            "lasso_cv",
            Lasso(ALPHAS, scale_inside=False),
            lambda: LassoCV(alphas=ALPHAS, cv=5, max_iter=10_000),
            1e-3,
            20,
            2,
        ),
    )
    for n in (320, 1414):
        x, y = cell(n)
        folds = grouped_folds(np.arange(n), FOLDS, REPEATS)
        orders = np.concatenate([np.arange(n)[None], permutations(n, PERMUTATIONS)])
        for name, model, peer, within, reach, rounds in ways:
            yield Comparison(
                f"prediction_{name}_{n}",
                lambda _, m=model, x=x, y=y, f=folds, o=orders: permuted_scores(x, y, f, o, m),
                lambda number, p=peer, x=x, y=y, f=folds, o=orders: (number, *loop(x, y[o[number]], f, p)),
                lambda ours, theirs, w=within: same(ours, theirs, w),
                reach,
                theirs_times=len(orders) * SCORES,
                rounds=rounds,
                note=f"R2 and RMSE equal to {within:g}; theirs times {len(orders)} orders x {SCORES} scores "
                "(permutation_test_score takes one score a pass; a loop that takes both at once needs half)",
            )


def cell(n: int) -> tuple[Any, Any]:
    """Squared projections of vectors with falling variances on random axes, and 0-100 scores that they half explain."""
    rng = np.random.default_rng(n)
    hidden = rng.normal(size=(n, 576)) * np.exp(-np.arange(576) / 80)
    axes = np.linalg.qr(rng.normal(size=(576, 576)))[0][:, :FEATURES]
    x = (hidden @ axes) ** 2
    signal = x @ rng.normal(size=FEATURES)
    return x, np.clip(60 + 14 * signal / signal.std() + 14 * rng.normal(size=n), 0, 100)


def loop(x: Any, y: Any, folds: Any, peer: Callable[[], Any]) -> tuple[float, float]:
    """Mean R2 and RMSE over all splits, everything refitted in each."""
    r2, rmse = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for row in folds:
            for fold in range(FOLDS):
                held = row == fold
                guess = make_pipeline(StandardScaler(), peer()).fit(x[~held], y[~held]).predict(x[held])
                r2.append(r2_score(y[held], guess))
                rmse.append(root_mean_squared_error(y[held], guess))
    return float(np.mean(r2)), float(np.mean(rmse))


def same(ours: PermutedScores, theirs: tuple[int, float, float], within: float) -> None:
    """Refuse scores of that permutation that differ; RMSE relative."""
    number, r2, rmse = theirs
    assert abs(ours.r2[0, number] - r2) <= within, f"R2 {ours.r2[0, number]} against {r2}"
    assert abs(ours.rmse[0, number] / rmse - 1) <= within, f"RMSE {ours.rmse[0, number]} against {rmse}"
