"""Overlap and its controls."""

import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from spillover.maths.subspaces import (
    evaluation_control,
    explained_share,
    mahalanobis,
    overlap,
    overlap_curve,
    principal_axes,
    random_control,
    reconstruction_cosine,
)

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(60, 20)) * np.linspace(4, 0.2, 20) + 3
ROWS = RNG.normal(size=(9, 20)) * np.linspace(3, 0.5, 20) + 2
AXES = principal_axes(TRAIN, k=6)


def test_formulas_row_by_row() -> None:
    projector = AXES.axes.T @ AXES.axes
    for i, a in enumerate(ROWS):
        c = a - TRAIN.mean(axis=0)
        assert overlap(ROWS, AXES)[i] == pytest.approx(np.linalg.norm(projector @ c) / np.linalg.norm(c))
        left = c - projector @ c
        assert explained_share(ROWS, AXES)[i] == pytest.approx(1 - (left @ left) / (c @ c))
        rebuilt = TRAIN.mean(axis=0) + projector @ c
        cosine = rebuilt @ a / np.linalg.norm(rebuilt) / np.linalg.norm(a)
        assert reconstruction_cosine(ROWS, AXES)[i] == pytest.approx(cosine)


def test_the_curve_is_overlap_at_every_k() -> None:
    curve = overlap_curve(ROWS, AXES)
    assert curve.shape == (9, 6)
    for k in range(1, 7):
        assert curve[:, k - 1] == pytest.approx(overlap(ROWS, AXES.first(k)))


def test_mahalanobis_with_all_axes_is_scipys() -> None:
    full = principal_axes(TRAIN, variance=1.0)
    inverse = np.linalg.inv(np.cov(TRAIN.T))
    direct = [scipy_mahalanobis(a, TRAIN.mean(axis=0), inverse) for a in ROWS]
    assert mahalanobis(ROWS, full) == pytest.approx(direct)


def test_within_the_axes_is_one_across_them_zero_at_the_mean_nan() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        within = AXES.mean + AXES.axes[0] * 3
        across = AXES.mean + principal_axes(TRAIN, k=20).axes[-1]
        values = overlap(np.stack([within, across, AXES.mean]), AXES)
        assert values[:2] == pytest.approx([1, 0], abs=1e-10)
        assert np.isnan(values[2])
        assert mahalanobis(AXES.mean[None], AXES)[0] == 0
        assert np.isnan(reconstruction_cosine(np.zeros((1, 20)), AXES)[0])


@pytest.mark.parametrize("n", [9, 200])
def test_the_random_control_is_k_over_d_exactly(n: int) -> None:
    rows = np.random.default_rng(1).normal(size=(n, 40)) + 5
    axes = principal_axes(np.random.default_rng(2).normal(size=(50, 40)), k=8)
    squares = random_control(rows, axes, 600, np.random.default_rng(3)) ** 2
    assert squares.shape == (600, n)
    assert squares.mean(axis=0) == pytest.approx(np.full(n, 8 / 40), abs=5 * 0.09 / np.sqrt(600))
    assert stats.kstest(squares[:, 0], stats.beta(4, 16).cdf).pvalue > 0.001


def test_principal_axes_beat_random_ones_on_rows_like_the_training_rows_only() -> None:
    rng = np.random.default_rng(4)
    like = rng.normal(size=(30, 20)) * np.linspace(4, 0.2, 20) + 3
    unlike = AXES.mean + rng.normal(size=(30, 20))
    control = random_control(like, AXES, 99, rng)
    assert (overlap(like, AXES).mean() > control.mean(axis=1)).all()
    control = random_control(unlike, AXES, 99, rng)
    assert abs(overlap(unlike, AXES).mean() - control.mean()) < 0.1


@pytest.mark.parametrize("n,d", [(12, 40), (40, 12)])
def test_the_evaluation_control_leaves_the_prompt_out(n: int, d: int) -> None:
    rows = np.random.default_rng(5).normal(size=(n, d)) * np.linspace(3, 0.5, d) + 1
    direct = [overlap(rows[[i]], principal_axes(np.delete(rows, i, axis=0), k=4))[0] for i in range(n)]
    assert evaluation_control(rows, 4) == pytest.approx(direct, abs=1e-8)


def test_fitting_with_the_prompt_itself_flatters() -> None:
    """The published control: unrelated prompts 'explain' each other, because each explains itself."""
    rows = np.random.default_rng(6).normal(size=(30, 500))
    itself = overlap(rows, principal_axes(rows, k=25)).mean()
    assert itself > 0.85
    assert evaluation_control(rows, 25).mean() < 0.35


def test_whole_families_are_left_out() -> None:
    rng = np.random.default_rng(7)
    base = rng.normal(size=(15, 100))
    rows = np.concatenate([base, base + 0.01 * rng.normal(size=base.shape)])
    family = np.tile(np.arange(15), 2)
    assert evaluation_control(rows, 13).mean() > 0.8
    assert evaluation_control(rows, 13, family).mean() < 0.5
    expected = overlap(rows[family == 3], principal_axes(rows[family != 3], k=13))
    assert evaluation_control(rows, 13, family)[family == 3] == pytest.approx(expected, abs=1e-8)


def test_too_few_other_rows_are_nan() -> None:
    assert np.isnan(evaluation_control(np.eye(4), 3)).all()
    assert np.isnan(evaluation_control(np.ones((5, 3)), 1)).all()
    with pytest.raises(ValueError, match="k must be at least 1"):
        evaluation_control(np.eye(4), 0)
