"""Whole families changing sides: exact on what can be enumerated, level kept where the bootstrap's is not."""

import itertools

import numpy as np
import pytest

from spillover.maths.estimate import Resampling
from spillover.maths.paired import paired_mean
from spillover.maths.permutation import sign_flip


def test_p_and_interval_are_those_of_trying_every_null() -> None:
    rng = np.random.default_rng(0)
    sums, sizes = rng.normal(1, 3, 9), rng.integers(1, 5, 9).astype(float)
    low, high, p = sign_flip(sums, sizes, 20_000, np.random.default_rng(1))
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=9)))

    def exact(theta: float) -> float:
        drawn = np.abs(signs @ (sums - theta * sizes))
        return float((drawn >= abs((sums - theta * sizes).sum()) - 1e-9).mean())

    assert p == pytest.approx(exact(0.0), abs=0.01)
    inside = [theta for theta in np.linspace(-5, 5, 2001) if exact(theta) > 0.05]
    assert low == pytest.approx(min(inside), abs=0.15) and high == pytest.approx(max(inside), abs=0.15)


def test_too_few_families_bound_nothing_and_equal_ones_stay_exact() -> None:
    low, high, p = sign_flip(np.full(5, 2.0), np.ones(5), 999, np.random.default_rng(0))
    assert np.isnan(low) and np.isnan(high) and p > 0.04
    low, high, p = sign_flip(np.full(9, 2.0), np.ones(9), 999, np.random.default_rng(0))
    assert low == pytest.approx(2) and high == pytest.approx(2) and p < 0.05
    assert sign_flip(np.zeros(9), np.ones(9), 999, np.random.default_rng(0))[2] == 1.0


def test_rare_events_on_both_sides_do_not_reject_too_often() -> None:
    rng, rejected, held = np.random.default_rng(2), 0, 0
    for seed in range(200):
        a, b = (rng.binomial(20, rng.beta(0.2, 8, 24)) / 20 for _ in range(2))
        found = paired_mean(a - b, np.arange(24), Resampling(199, seed=seed, bounds=(0, 1)))
        rejected += (found.p or 1) <= 0.05
        held += bool(found.low <= 0 <= found.high)
    assert rejected <= 20
    assert held >= 180


def test_a_shift_is_found_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(3)
    gaps = 5 + 4 * rng.normal(size=24)
    found = paired_mean(gaps, np.arange(24) // 2, Resampling(999, bounds=(0, 100)))
    assert (found.p or 1) < 0.01 and 0 < found.low < 5 < found.high
