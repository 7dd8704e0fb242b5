"""Shifts, their similarities, and comparisons of sets.
What one added vector explains: all of a common shift, a known share of a mixed one, nothing by chance.
Low-rank products against the matrices they stand for.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spillover.maths.shift import (
    cosine,
    deltas,
    linear_cka,
    relative_shift,
    set_shift,
    shift_fit,
    shift_projection,
    shift_similarity,
    weight_cosine,
    weight_inner,
    weight_norm,
)
from spillover.maths.subspaces import random_axes

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


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="same prompts at the same site"):
        deltas(BEFORE, AFTER[:3])
    with pytest.raises(ValueError, match="16 columns and training_delta 4"):
        shift_similarity(BEFORE, np.ones((3, 4)))
    with pytest.raises(ValueError, match="before holds NaN"):
        deltas(np.full((2, 3), np.nan), np.ones((2, 3)))


def test_a_common_shift_is_foretold_whole_and_a_random_vector_foretells_nothing() -> None:
    rng = np.random.default_rng(0)
    before, v = rng.normal(size=(50, 64)), rng.normal(size=64)
    fit = shift_fit(before, before + v, v)
    assert fit.explained == pytest.approx(np.ones(50)) and fit.cosine == pytest.approx(np.ones(50))
    assert fit.best == pytest.approx(1) and fit.whole == pytest.approx(1)
    twice = shift_fit(before, before + 2 * v, v)
    assert twice.best == pytest.approx(2) and twice.explained == pytest.approx(np.full(50, 0.75))
    other = rng.normal(size=64)
    chance = shift_fit(before, before + v, other * np.linalg.norm(v) / np.linalg.norm(other))
    assert abs(chance.cosine.mean()) < 0.35 and chance.explained.mean() < 0 and chance.whole < 0.12


def test_the_share_is_that_of_squared_lengths() -> None:
    rng = np.random.default_rng(1)
    v = np.eye(10)[0] * 3
    noise = rng.normal(size=(4000, 9))
    after = np.hstack([np.full((4000, 1), 3.0), noise])
    fit = shift_fit(np.zeros((4000, 10)), after, v)
    assert fit.whole == pytest.approx(9 / 18, abs=0.02)
    expected = 1 - (noise**2).sum(axis=1) / ((noise**2).sum(axis=1) + 9)
    assert fit.explained == pytest.approx(expected)


def test_a_fit_to_no_shift_or_by_nothing_is_missing() -> None:
    assert np.isnan(shift_fit(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)).explained).all()
    assert np.isnan(shift_fit(np.zeros((2, 3)), np.ones((2, 3)), np.zeros(3)).best)
    with pytest.raises(ValueError, match="do not go together"):
        shift_fit(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(4))


def test_low_rank_products_as_the_whole_matrices() -> None:
    rng = np.random.default_rng(0)
    left, right = ((rng.normal(size=(7, r)), rng.normal(size=(r, 5))) for r in (2, 3))
    full = [b @ a for b, a in (left, right)]
    assert weight_inner(left, right) == pytest.approx((full[0] * full[1]).sum())
    assert weight_norm(left) == pytest.approx(np.linalg.norm(full[0]))
    assert weight_cosine([left, right], [left, right]) == pytest.approx(1)
    expected = (full[0] * full[1]).sum() / np.linalg.norm(full[0]) / np.linalg.norm(full[1])
    assert weight_cosine([left], [right]) == pytest.approx(expected)
    assert np.isnan(weight_cosine([left], [(0 * right[0], right[1])]))
    with pytest.raises(ValueError, match="no inner product"):
        weight_inner(left, (left[1], left[0]))
