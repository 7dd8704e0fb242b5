"""Textbook statistics equal the libraries' that released code calls, where those are right."""

import numpy as np
import pytest
import scipy.stats

from spillover.papers.em_generalization.reproduce.textbook import (
    lower_median,
    pearson_normal,
    two_sided_t,
)


@pytest.mark.parametrize("n,slope", [(3, 0.0), (24, 0.5), (35, -3.0), (320, 0.1)])
def test_pearson_is_scipys(n: int, slope: float) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = slope * x + rng.normal(size=n)
    wanted = scipy.stats.pearsonr(x, y)
    assert pearson_normal(x, y) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-9)


def test_pearson_of_what_does_not_vary_or_is_too_little_is_missing() -> None:
    assert np.isnan(pearson_normal([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])).all()
    assert np.isnan(pearson_normal([1.0, 2.0], [1.0, 2.0])).all()
    with pytest.raises(ValueError, match="lacks values"):
        pearson_normal([1.0, np.nan, 2.0], [1.0, 2.0, 3.0])


def test_lower_median_takes_the_lower_of_two_and_the_middle_of_three() -> None:
    assert lower_median([4.0, 1.0, 3.0, 2.0]) == 2.0 != np.median([4.0, 1.0, 3.0, 2.0])
    assert lower_median([3.0, 1.0, 2.0]) == 2.0
    assert np.isnan(lower_median([])) and np.isnan(lower_median([1.0, np.nan]))


def test_the_tail_of_t_keeps_its_digits_where_one_minus_cdf_has_none() -> None:
    assert two_sided_t(2.0, 49) == pytest.approx(2 * (1 - scipy.stats.t.cdf(2.0, 49)))
    assert 0 < two_sided_t(-14.2, 49) < 1e-17
    assert two_sided_t(14.2, 49, cancelling=True) == 0  # what the released code prints
    assert np.isnan(two_sided_t(float("nan"), 49)) and np.isnan(two_sided_t(float("nan"), 49, cancelling=True))
