"""What one added vector explains: all of a common shift, a known share of a mixed one, nothing by chance."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.shift import shift_fit


def test_a_common_shift_is_foretold_whole_and_a_random_vector_foretells_nothing() -> None:
    rng = np.random.default_rng(0)
    before, v = rng.normal(size=(50, 64)), rng.normal(size=64)
    found = shift_fit(before, before + v, v)
    assert found.explained == pytest.approx(np.ones(50)) and found.cosine == pytest.approx(np.ones(50))
    assert found.best == pytest.approx(1) and found.whole == pytest.approx(1)
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
    found = shift_fit(np.zeros((4000, 10)), after, v)
    assert found.whole == pytest.approx(9 / 18, abs=0.02)
    expected = 1 - (noise**2).sum(axis=1) / ((noise**2).sum(axis=1) + 9)
    assert found.explained == pytest.approx(expected)


def test_odd_input() -> None:
    assert np.isnan(shift_fit(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)).explained).all()
    assert np.isnan(shift_fit(np.zeros((2, 3)), np.ones((2, 3)), np.zeros(3)).best)
    with pytest.raises(ValueError, match="do not go together"):
        shift_fit(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(4))
