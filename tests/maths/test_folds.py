"""Folds that never split a group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillover.maths.cross_validation import grouped_folds


@given(st.lists(st.integers(0, 12), min_size=30, max_size=80), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_groups_stay_whole_and_no_fold_is_empty(groups: list[int], k: int, seed: int) -> None:
    if len(set(groups)) < k:
        groups = [*groups, *range(20, 20 + k)]
    folds = grouped_folds(groups, k, 3, seed)
    assert folds.shape == (3, len(groups))
    for row in folds:
        assert set(row) == set(range(k))
        for group in set(groups):
            assert len({f for f, g in zip(row, groups, strict=True) if g == group}) == 1


def test_single_rows_give_folds_of_equal_size() -> None:
    for row in grouped_folds(np.arange(320), 5, 4):
        assert np.bincount(row).tolist() == [64] * 5


def test_repeats_differ_and_the_seed_fixes_them() -> None:
    groups = np.repeat(np.arange(8), 40)
    folds = grouped_folds(groups, 4, 10, seed=3)
    assert len({tuple(row) for row in folds}) == 10
    assert (folds == grouped_folds(groups, 4, 10, seed=3)).all()
    assert (folds != grouped_folds(groups, 4, 10, seed=4)).any()


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="5 folds need at least 5 groups, got 2"):
        grouped_folds(["a", "b", "a"], 5)
    with pytest.raises(ValueError, match="at least 2 folds"):
        grouped_folds(["a", "b"], 1)
    with pytest.raises(ValueError, match="repeats"):
        grouped_folds(["a", "b"], 2, 0)
