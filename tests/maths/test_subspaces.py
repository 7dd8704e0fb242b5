"""Principal and random axes.
Overlap and its controls.
"""

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.decomposition import PCA

from spillover.maths.subspaces import (
    evaluation_control,
    explained_share,
    mahalanobis,
    overlap,
    principal_angles,
    principal_axes,
    random_axes,
    random_control,
    reconstruction_cosine,
    subspace_similarity,
)


def training_rows(seed: int = 0, n: int = 40, d: int = 12) -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.linspace(5, 0.1, d) @ random_axes(d, d, rng) + 100


@pytest.mark.parametrize("n,d", [(40, 12), (15, 60)])
def test_equal_to_sklearn_up_to_sign(n: int, d: int) -> None:
    x = training_rows(n=n, d=d)
    ours, theirs = principal_axes(x, k=5), PCA(5, svd_solver="full").fit(x)
    assert np.allclose(np.abs((ours.axes * theirs.components_).sum(axis=1)), 1)
    assert np.allclose(ours.variances, theirs.explained_variance_)
    assert ours.share == pytest.approx(theirs.explained_variance_ratio_.sum())
    assert np.allclose(ours.axes @ ours.axes.T, np.eye(5), atol=1e-10)
    assert np.allclose(np.abs(ours.project(x)), np.abs(theirs.transform(x)))


def test_centred_at_the_training_mean() -> None:
    x = training_rows()
    axes = principal_axes(x, k=3)
    assert np.allclose(axes.project(x).mean(axis=0), 0)
    assert np.allclose(axes.project(x[:2] + 1) - axes.project(x[:2]), axes.axes.sum(axis=1))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.0])
def test_variance_gives_the_fewest_axes_that_hold_it(share: float) -> None:
    x = training_rows()
    axes = principal_axes(x, variance=share)
    assert axes.share >= share - 1e-9
    if axes.k > 1:
        assert principal_axes(x, k=axes.k - 1).share < share
    assert axes.k > 0  # published: int(0.95) = 0


def test_signs_do_not_hang_on_the_data_order_or_sign() -> None:
    x = training_rows()
    first, mirrored = principal_axes(x, k=4), principal_axes(200 - x, k=4)
    assert np.allclose(first.axes, principal_axes(x[::-1], k=4).axes)
    assert np.allclose(first.axes, mirrored.axes)
    assert (first.axes[np.arange(4), np.abs(first.axes).argmax(axis=1)] > 0).all()


def test_first_keeps_shares_true() -> None:
    x = training_rows()
    cut, direct = principal_axes(x, k=6).first(2), principal_axes(x, k=2)
    assert np.allclose(cut.axes, direct.axes) and cut.share == pytest.approx(direct.share)


def test_rank_is_the_limit() -> None:
    x = np.zeros((5, 8))
    x[:, 0] = [1, 2, 3, 4, 5]
    x[:, 1] = [1, -1, 1, -1, 0]
    assert principal_axes(x, variance=1.0).k == 2
    with pytest.raises(ValueError, match=r"1\.\.2"):
        principal_axes(x, k=3)
    with pytest.raises(ValueError, match=r"1\.\.4 .*5 rows"):
        principal_axes(training_rows(n=5), k=5)


@pytest.mark.parametrize(
    "options,words",
    [
        ({}, "either k or variance"),
        ({"k": 2, "variance": 0.9}, "either k or variance"),
        ({"variance": 95}, "for 95% pass 0.95"),
        ({"k": 0}, "got 0"),
        ({"k": 0.95}, "got 0.95"),
    ],
)
def test_wrong_choices_say_so(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        principal_axes(training_rows(), **options)


def test_wrong_rows_say_so() -> None:
    with pytest.raises(ValueError, match="all 4 rows are equal"):
        principal_axes(np.full((4, 3), 1.7), k=1)
    with pytest.raises(ValueError, match="at least 2 rows"):
        principal_axes(np.ones((1, 3)), k=1)
    with pytest.raises(ValueError, match="3 columns and axes 12"):
        principal_axes(training_rows(), k=1).project(np.ones((2, 3)))


def test_random_axes_are_orthonormal_and_uniform() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([random_axes(3, 10, rng) for _ in range(4000)])
    assert np.allclose(draws[0] @ draws[0].T, np.eye(3))
    # alike in every direction: mean 0, mean square 1/d
    assert np.abs(draws.mean(axis=0)).max() < 5 / np.sqrt(4000 * 10)
    assert np.allclose((draws**2).mean(axis=0), 1 / 10, atol=0.012)
    assert random_axes(2, 5, np.random.default_rng(1)).tolist() == random_axes(2, 5, np.random.default_rng(1)).tolist()
    with pytest.raises(ValueError, match=r"1\.\.d = 3, got 4"):
        random_axes(4, 3, rng)


RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(60, 20)) * np.linspace(4, 0.2, 20) + 3
ROWS = RNG.normal(size=(9, 20)) * np.linspace(3, 0.5, 20) + 2
AXES = principal_axes(TRAIN, k=6)


def test_overlap_formulas_row_by_row() -> None:
    projector = AXES.axes.T @ AXES.axes
    for i, a in enumerate(ROWS):
        c = a - TRAIN.mean(axis=0)
        assert overlap(ROWS, AXES)[i] == pytest.approx(np.linalg.norm(projector @ c) / np.linalg.norm(c))
        left = c - projector @ c
        assert explained_share(ROWS, AXES)[i] == pytest.approx(1 - (left @ left) / (c @ c))
        rebuilt = TRAIN.mean(axis=0) + projector @ c
        cosine = rebuilt @ a / np.linalg.norm(rebuilt) / np.linalg.norm(a)
        assert reconstruction_cosine(ROWS, AXES)[i] == pytest.approx(cosine)


def test_overlap_never_falls_with_more_axes() -> None:
    curve = np.stack([overlap(ROWS, AXES.first(k)) for k in range(1, 7)])
    assert (np.diff(curve, axis=0) >= 0).all()
    assert curve[-1] == pytest.approx(overlap(ROWS, AXES))


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


def test_principal_angles() -> None:
    a = np.eye(5)[:2]
    b = np.stack([np.eye(5)[0], np.array([0, np.cos(0.3), np.sin(0.3), 0, 0])])
    assert principal_angles(a, b) == pytest.approx([0, 0.3], abs=1e-12)
    assert subspace_similarity(a, b) == pytest.approx((1 + np.cos(0.3) ** 2) / 2)
    assert principal_angles(a, a) == pytest.approx([0, 0])
    with pytest.raises(ValueError, match="axes_a must have orthonormal rows"):
        principal_angles(2 * a, b)


def test_random_planes_share_k_over_d() -> None:
    rng = np.random.default_rng(4)
    shared = [subspace_similarity(random_axes(6, 30, rng), random_axes(6, 30, rng)) for _ in range(500)]
    assert np.mean(shared) == pytest.approx(6 / 30, abs=4 * np.std(shared) / np.sqrt(500))
    angles = principal_angles(random_axes(6, 30, rng), principal_axes(TRAIN.repeat(2, axis=1)[:, :30], k=6).axes)
    assert len(angles) == 6 and (np.diff(angles) >= 0).all()
