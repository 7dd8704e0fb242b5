"""Shifts, their similarities, and comparisons of sets."""

import warnings

import numpy as np
import pytest

from spillover.maths.shift import (
    cosine,
    deltas,
    linear_cka,
    relative_shift,
    set_shift,
    shift_projection,
    shift_similarity,
    steered_cosine,
)
from spillover.maths.subspaces import principal_angles, principal_axes, random_axes, subspace_similarity

RNG = np.random.default_rng(0)
BEFORE = RNG.normal(size=(8, 16)) + 2
AFTER = BEFORE + 0.3 * RNG.normal(size=(8, 16)) + 0.4
TRAIN = RNG.normal(size=(30, 16)) * 0.3 + 0.4


def test_formulas_row_by_row() -> None:
    delta, mean = deltas(BEFORE, AFTER), TRAIN.mean(axis=0)
    for i, d in enumerate(delta):
        assert (d == AFTER[i] - BEFORE[i]).all()
        cos = d @ mean / np.linalg.norm(d) / np.linalg.norm(mean)
        assert shift_similarity(delta, TRAIN)[i] == pytest.approx(cos)
        assert shift_projection(delta, TRAIN)[i] == pytest.approx(d @ mean / np.linalg.norm(mean))
        assert relative_shift(delta, BEFORE)[i] == pytest.approx(np.linalg.norm(d) / np.linalg.norm(BEFORE[i]))
        assert steered_cosine(BEFORE, AFTER, TRAIN)[i] == pytest.approx(cosine(BEFORE[i] + mean, AFTER[i]))


def test_zero_vectors_are_nan_and_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zero = np.zeros((2, 16))
        assert np.isnan(shift_similarity(zero, TRAIN)).all()
        assert (shift_projection(zero, TRAIN) == 0).all()
        assert np.isnan(shift_similarity(TRAIN, zero)).all() and np.isnan(shift_projection(TRAIN, zero)).all()
        assert np.isnan(relative_shift(TRAIN[:2], zero)).all()
        whole = set_shift(zero, TRAIN)
        assert np.isnan(whole.cosine_of_means) and np.isnan(whole.cosine_of_mean_units) and whole.relative_norm == 0
        assert np.isnan(set_shift(TRAIN, zero).relative_norm)


def test_set_level() -> None:
    delta = deltas(BEFORE, AFTER)
    whole = set_shift(delta, TRAIN)
    assert whole.cosine_of_means == pytest.approx(cosine(delta.mean(axis=0), TRAIN.mean(axis=0)))
    lengths = np.linalg.norm(delta, axis=1, keepdims=True)
    units = (delta / lengths).mean(axis=0)
    direct = cosine(units, (TRAIN / np.linalg.norm(TRAIN, axis=1, keepdims=True)).mean(axis=0))
    assert whole.cosine_of_mean_units == pytest.approx(direct)
    same = set_shift(3 * TRAIN, TRAIN)
    assert (same.cosine_of_means, same.cosine_of_mean_units, same.relative_norm) == pytest.approx((1, 1, 3))


def test_one_long_shift_rules_the_mean_but_not_the_mean_of_units() -> None:
    train = np.tile([1.0, 0, 0], (20, 1))
    delta = np.concatenate([train, [[0, 1000.0, 0]]])
    whole = set_shift(delta, train)
    assert whole.cosine_of_means < 0.1
    assert whole.cosine_of_mean_units > 0.99


def test_unrelated_shifts_have_no_similarity() -> None:
    rng = np.random.default_rng(1)
    similarity = shift_similarity(rng.normal(size=(300, 400)), rng.normal(size=(50, 400)))
    assert abs(similarity.mean()) < 4 / np.sqrt(300 * 400)
    assert similarity.std() == pytest.approx(1 / np.sqrt(400), rel=0.2)


def test_cka_matches_the_definition_and_is_blind_to_rotation_and_scale() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 9))
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    direct = np.linalg.norm(b.T @ a) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert linear_cka(x, y, debiased=False) == pytest.approx(direct)
    turned = 5 * x @ random_axes(6, 6, rng) + 7
    for debiased in (False, True):
        assert linear_cka(x, turned, debiased) == pytest.approx(1)


def test_plain_cka_calls_unrelated_activations_alike_and_the_debiased_one_does_not() -> None:
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(size=(50, 2000)), rng.normal(size=(50, 2000))) for _ in range(20)]
    assert np.mean([linear_cka(x, y, debiased=False) for x, y in pairs]) > 0.95
    assert abs(np.mean([linear_cka(x, y) for x, y in pairs])) < 0.03


def test_cka_without_variation_is_nan() -> None:
    assert np.isnan(linear_cka(np.ones((9, 3)), np.random.default_rng(0).normal(size=(9, 3))))
    assert np.isnan(linear_cka(np.eye(3), np.eye(3)))
    with pytest.raises(ValueError, match="x has 3, y has 4"):
        linear_cka(np.eye(3), np.eye(4))


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


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts at the same site"):
        deltas(BEFORE, AFTER[:3])
    with pytest.raises(ValueError, match="16 columns and training_delta 4"):
        shift_similarity(BEFORE, np.ones((3, 4)))
    with pytest.raises(ValueError, match="before holds NaN"):
        deltas(np.full((2, 3), np.nan), np.ones((2, 3)))
