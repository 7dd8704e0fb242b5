"""Principal and random axes."""

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from spillover.maths.subspaces import principal_axes, random_axes


def rows(seed: int = 0, n: int = 40, d: int = 12) -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * np.linspace(5, 0.1, d) @ random_axes(d, d, rng) + 100


@pytest.mark.parametrize("n,d", [(40, 12), (15, 60)])
def test_equal_to_sklearn_up_to_sign(n: int, d: int) -> None:
    x = rows(n=n, d=d)
    ours, theirs = principal_axes(x, k=5), PCA(5, svd_solver="full").fit(x)
    assert np.allclose(np.abs((ours.axes * theirs.components_).sum(axis=1)), 1)
    assert np.allclose(ours.variances, theirs.explained_variance_)
    assert ours.share == pytest.approx(theirs.explained_variance_ratio_.sum())
    assert np.allclose(ours.axes @ ours.axes.T, np.eye(5), atol=1e-10)
    assert np.allclose(np.abs(ours.project(x)), np.abs(theirs.transform(x)))


def test_centred_at_the_training_mean() -> None:
    x = rows()
    axes = principal_axes(x, k=3)
    assert np.allclose(axes.project(x).mean(axis=0), 0)
    assert np.allclose(axes.project(x[:2] + 1) - axes.project(x[:2]), axes.axes.sum(axis=1))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 1.0])
def test_variance_gives_the_fewest_axes_that_hold_it(share: float) -> None:
    x = rows()
    axes = principal_axes(x, variance=share)
    assert axes.share >= share - 1e-9
    if axes.k > 1:
        assert principal_axes(x, k=axes.k - 1).share < share
    assert axes.k > 0  # published: int(0.95) = 0


def test_signs_do_not_hang_on_the_data_order_or_sign() -> None:
    x = rows()
    first, mirrored = principal_axes(x, k=4), principal_axes(200 - x, k=4)
    assert np.allclose(first.axes, principal_axes(x[::-1], k=4).axes)
    assert np.allclose(first.axes, mirrored.axes)
    assert (first.axes[np.arange(4), np.abs(first.axes).argmax(axis=1)] > 0).all()


def test_first_keeps_shares_true() -> None:
    x = rows()
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
        principal_axes(rows(n=5), k=5)


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
        principal_axes(rows(), **options)


def test_wrong_rows_say_so() -> None:
    with pytest.raises(ValueError, match="all 4 rows are equal"):
        principal_axes(np.full((4, 3), 1.7), k=1)
    with pytest.raises(ValueError, match="at least 2 rows"):
        principal_axes(np.ones((1, 3)), k=1)
    with pytest.raises(ValueError, match="3 columns and axes 12"):
        principal_axes(rows(), k=1).project(np.ones((2, 3)))


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
