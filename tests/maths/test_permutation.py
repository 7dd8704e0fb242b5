"""Orders of rows that a null leaves alike."""

import numpy as np
import pytest

from spillover.maths.permutation import exceedance, permutations


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
