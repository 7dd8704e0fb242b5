"""The corrected resampled t test."""

import math

import numpy as np
import pytest
from scipy import stats

from spillover.maths.cross_validation import (
    corrected_difference,
    corrected_interval,
    cross_validate,
    grouped_folds,
    interval_from_summary,
)
from spillover.maths.regression import Ridge


def test_formula() -> None:
    scores = np.random.default_rng(0).normal(size=(10, 5))
    est = corrected_interval(scores, 0.25, null=0.0)
    error = math.sqrt(scores.var(ddof=1) * (1 / 50 + 0.25))
    assert est.high - est.estimate == pytest.approx(stats.t.ppf(0.975, 49) * error)
    assert est.p == pytest.approx(2 * stats.t.sf(abs(scores.mean()) / error, 49))
    assert est.n == 50


def test_missing_folds_are_left_out_and_nothing_is_nan() -> None:
    assert corrected_interval([1.0, np.nan, 3.0], 0.25).n == 2
    assert math.isnan(corrected_interval([np.nan], 0.25).estimate)
    one = corrected_interval([2.0], 0.25, null=0.0)
    assert one.estimate == 2 and math.isnan(one.low) and math.isnan(one.p or 0)
    assert corrected_difference([1.0, 2.0], [1.0, 2.0], 0.25).p == 1.0


def test_the_plain_t_test_finds_differences_that_are_not_there() -> None:
    """Two models equally good by construction; uncorrected, repeated splits pass for independent ones."""
    rng = np.random.default_rng(1)
    plain = corrected = 0
    folds = grouped_folds(np.arange(60), 5, 6)
    for _ in range(200):
        a, b = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
        y = a[:, 0] + b[:, 0] + rng.normal(size=60)
        one, other = (cross_validate(x, y, folds, model=Ridge((1.0,))) for x in (a, b))
        gap = (one.rmse - other.rmse).ravel()
        plain += stats.ttest_1samp(gap, 0).pvalue <= 0.05
        corrected += (corrected_difference(one.rmse[0], other.rmse[0], one.test_share).p or 1) <= 0.05
    assert plain / 200 > 0.3
    assert corrected / 200 <= 0.1


def test_wrong_input_says_so() -> None:
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
