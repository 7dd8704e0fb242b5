"""Orders of rows that a null leaves alike.
Whole families changing sides: exact on what can be enumerated, level kept where the bootstrap's is not.
"""

import itertools

import numpy as np
import pytest

from spillover.maths.permutation import exceedance, permutations, sign_flip


def test_every_order_is_an_order_and_the_seed_fixes_it() -> None:
    orders = permutations(7, 50, seed=1)
    assert (np.sort(orders, axis=1) == np.arange(7)).all()
    assert (orders == permutations(7, 50, seed=1)).all()
    assert (orders != permutations(7, 50, seed=2)).any()


def test_groups_move_whole_among_their_size_and_keep_their_inner_order() -> None:
    groups = np.array(["b", "a", "b", "a", "c", "d", "e"])
    orders = permutations(7, 200, groups=groups)
    assert (np.sort(orders, axis=1) == np.arange(7)).all()
    pairs = {tuple(row) for row in orders[:, [1, 3]]}
    assert pairs == {(1, 3), (0, 2)}  # group a's places hold a or b, in order
    assert {tuple(sorted(row)) for row in orders[:, 4:]} == {(4, 5, 6)}


def test_groups_that_cannot_move_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        permutations(3, 10, groups=["a", "b", "b"])


def test_exceedance_is_never_zero_counts_ties_and_keeps_nan() -> None:
    drawn = np.array([[0.0, 1.0, -2.0], [1.0, 1.0, 1.0], [np.nan, 0, 0]])
    p = exceedance(np.array([2.0, 1.0, np.nan]), drawn)
    assert p[:2].tolist() == [0.5, 1.0] and np.isnan(p[2])
    assert exceedance(np.array([2.0]), np.array([[0.0, 1.0, -2.0]]), two_sided=False)[0] == 0.25


def test_sign_flips_p_and_interval_are_those_of_trying_every_null() -> None:
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
