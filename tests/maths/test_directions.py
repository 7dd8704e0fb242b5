"""Directions from arrays: a planted one is found, an erased one is gone, and random ones do neither."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from spillover.maths.directions import (
    contrast,
    leace,
    principal_axis,
    probe_weights,
    projection_difference,
    random_directions,
)

D = 40


def two_sets(rows: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sets whose means differ along one axis, with much more variance along another."""
    rng = np.random.default_rng(seed)
    planted, loud = np.eye(D)[3], np.eye(D)[7]
    noise = rng.normal(size=(2 * rows, D)) + 5 * rng.normal(size=(2 * rows, 1)) * loud
    high, low = noise[:rows] + apart * planted, noise[rows:]
    return high, low, planted


def accuracy(high: np.ndarray, low: np.ndarray) -> float:
    rows, labels = np.vstack((high, low)), np.repeat([1, 0], [len(high), len(low)])
    return float(LinearDiscriminantAnalysis().fit(rows, labels).score(rows, labels))


def test_a_planted_contrast_is_found_and_a_missing_one_is_not() -> None:
    high, low, planted = two_sets(400, 3.0)
    made = contrast(high, low)
    assert made @ planted == pytest.approx(3.0, abs=0.3)
    weights = probe_weights(high, low, penalty=0.01)
    assert abs(weights @ planted) > 0.95 and np.linalg.norm(weights) == pytest.approx(1)
    none = probe_weights(*two_sets(400, 0.0)[:2], penalty=0.01)
    assert abs(none @ planted) < 0.6


def test_probe_weights_leave_loud_variance_aside_where_the_contrast_does_not() -> None:
    """With few rows the means differ by chance along the loud axis; the probe discounts it."""
    high, low, planted = two_sets(60, 1.5)
    plain = contrast(high, low) / np.linalg.norm(contrast(high, low))
    assert probe_weights(high, low, penalty=0.1) @ planted > plain @ planted


def test_leace_leaves_nothing_to_a_linear_probe_and_a_random_direction_leaves_all() -> None:
    high, low, _ = two_sets(200, 2.0)
    eraser = leace(high, low)
    assert accuracy(high, low) > 0.8
    gone = eraser(high), eraser(low)
    assert np.abs(gone[0].mean(axis=0) - gone[1].mean(axis=0)).max() < 1e-9
    assert accuracy(*gone) < 0.6
    assert np.allclose(eraser(gone[0]), gone[0])
    other = random_directions(eraser.read, 1, seed=1)[0]
    other /= np.linalg.norm(other)
    assert accuracy(*(side - np.outer(side @ other, other) for side in (high, low))) > 0.8


def test_leace_changes_rows_less_than_a_projection_along_the_contrast() -> None:
    """The theorem: of all affine maps that leave the means equal, it moves the rows least (in squares)."""
    high, low, _ = two_sets(200, 2.0)
    rows = np.vstack((high, low))
    eraser = leace(high, low)
    unit = contrast(high, low) / np.linalg.norm(contrast(high, low))
    moved = ((eraser(rows) - rows) ** 2).sum()
    assert moved <= (((rows - rows.mean(axis=0)) @ unit) ** 2).sum()


def test_leace_works_with_fewer_rows_than_columns() -> None:
    high, low, _ = two_sets(12, 2.0)
    eraser = leace(high, low)
    assert np.abs(eraser(high).mean(axis=0) - eraser(low).mean(axis=0)).max() < 1e-9


def test_principal_axes_come_by_variance() -> None:
    high, low, _ = two_sets(300, 0.0)
    axis, share = principal_axis(np.vstack((high, low)))
    assert axis[7] > 0.98 and 0.3 < share < 0.6
    assert abs(principal_axis(high, 1)[0] @ principal_axis(high, 0)[0]) < 1e-9


def test_random_directions_are_as_long_and_point_elsewhere() -> None:
    like = 7 * np.eye(D)[0]
    drawn = random_directions(like, 20, seed=0)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx([7.0] * 20)
    assert np.abs(drawn @ np.eye(D)[0]).max() < 5 and not np.allclose(drawn[0], drawn[1])


def test_a_projection_difference_is_that_of_the_answers() -> None:
    rng = np.random.default_rng(0)
    own, v = rng.normal(size=(6, D)), np.eye(D)[2]
    assert projection_difference(own + 4 * v, own, 10 * v) == pytest.approx([4.0] * 6)
    with pytest.raises(ValueError, match="same prompts"):
        projection_difference(own, own[:3], v)


@pytest.mark.parametrize("function", [contrast, leace, probe_weights])
def test_empty_and_unlike_sets_are_refused(function) -> None:
    rows = np.ones((3, 4))
    with pytest.raises(ValueError, match="two sets"):
        function(rows, np.ones((0, 4)))
    with pytest.raises(ValueError, match="columns"):
        function(rows, np.ones((3, 5)))


def test_what_does_not_differ_has_no_eraser_and_no_probe() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4))
    with pytest.raises(ValueError, match="same mean"):
        leace(rows, rows)
    with pytest.raises(ValueError, match="do not differ"):
        probe_weights(np.ones((3, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="principal axes"):
        principal_axis(np.ones((3, 4)))
