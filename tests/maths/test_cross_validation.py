"""Folds that never split a group.
The corrected resampled t test.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spillover.maths.cross_validation import (
    corrected_difference,
    corrected_interval,
    cross_validate,
    grouped_folds,
    inner_splits,
    interval_from_summary,
)
from spillover.maths.regression import Ridge


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


def test_corrected_interval_is_the_formula() -> None:
    scores = np.random.default_rng(0).normal(size=(10, 5))
    est = corrected_interval(scores, 0.25, null=0.0)
    error = math.sqrt(scores.var(ddof=1) * (1 / 50 + 0.25))
    assert est.high - est.estimate == pytest.approx(stats.t.ppf(0.975, 49) * error)
    assert est.p == pytest.approx(2 * stats.t.sf(abs(scores.mean()) / error, 49))
    assert est.n == 50


def test_missing_folds_are_left_out_and_nothing_is_nan() -> None:
    assert corrected_interval([1.0, np.nan, 3.0], 0.25).n == 2
    assert math.isnan(corrected_interval([np.nan], 0.25).estimate)
    single = corrected_interval([2.0], 0.25, null=0.0)
    assert single.estimate == 2 and math.isnan(single.low) and math.isnan(single.p or 0)
    assert corrected_difference([1.0, 2.0], [1.0, 2.0], 0.25).p == 1.0


def test_the_plain_t_test_finds_differences_that_are_not_there() -> None:
    """Two models equally good by construction; uncorrected, repeated splits pass for independent ones."""
    rng = np.random.default_rng(1)
    plain = corrected = 0
    folds = grouped_folds(np.arange(60), 5, 6)
    for _ in range(200):
        a, b = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
        y = a[:, 0] + b[:, 0] + rng.normal(size=60)
        first, second = (cross_validate(x, y, folds, model=Ridge((1.0,))) for x in (a, b))
        gap = (first.rmse - second.rmse).ravel()
        plain += stats.ttest_1samp(gap, 0).pvalue <= 0.05
        corrected += (corrected_difference(first.rmse[0], second.rmse[0], first.test_share).p or 1) <= 0.05
    assert plain / 200 > 0.3
    assert corrected / 200 <= 0.1


def test_intervals_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"for 5 folds pass 0\.25"):
        corrected_interval([1.0], 0)
    with pytest.raises(ValueError, match="same folds"):
        corrected_difference([1.0], [1.0, 2.0], 0.25)


def test_the_interval_from_mean_and_sd_is_the_interval_from_the_scores() -> None:
    scores = np.random.default_rng(3).normal(0.4, 0.05, 50)
    whole = corrected_interval(scores, 0.25, null=0.0)
    told = interval_from_summary(scores.mean(), scores.std(ddof=1), 50, 0.25, null=0.0)
    assert (told.low, told.high, told.p) == pytest.approx((whole.low, whole.high, whole.p))
    assert np.isnan(interval_from_summary(0.4, float("nan"), 50, 0.25).low)


def test_inner_folds_are_kfolds_and_never_split_a_group() -> None:
    alone = [np.flatnonzero(held).tolist() for held in inner_splits(np.arange(11), 3)]
    assert alone == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    groups = np.array([5, 5, 2, 2, 2, 9, 9, 0, 5])
    for held in inner_splits(groups, 3):
        assert all(len(set(held[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert sum(held.astype(int) for held in inner_splits(groups, 3)).tolist() == [1] * 9
    with pytest.raises(ValueError, match="single group"):
        list(inner_splits(np.zeros(6, dtype=int), 3))
