"""Prior against post over questions."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from spillover.maths.estimate import Resampling
from spillover.maths.paired import prior_post


def test_every_number_is_scipys() -> None:
    rng = np.random.default_rng(0)
    prior = rng.uniform(0, 100, 24)
    post = 0.5 * prior + rng.normal(20, 10, 24)
    result = prior_post(np.r_[prior, np.nan], np.r_[post, 5.0])
    line = stats.linregress(prior, post)
    assert result.n == 24
    assert (result.slope, result.intercept, result.r2) == pytest.approx((line.slope, line.intercept, line.rvalue**2))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(prior, post).pvalue)
    assert result.wilcoxon_statistic == stats.wilcoxon(prior, post).statistic
    assert (result.ks_statistic, result.ks_p) == pytest.approx(tuple(stats.ks_2samp(prior, post)))
    assert result.difference.estimate == pytest.approx((post - prior).mean())
    assert result.r.estimate == pytest.approx(line.rvalue)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_questions_are_nan(n: int) -> None:
    result = prior_post([1.0] * n, [2.0] * n)
    assert result.n == n
    for value in (
        result.wilcoxon_p,
        result.ks_p,
        result.slope,
        result.r2,
        result.difference.estimate,
        result.r.low,
    ):
        assert math.isnan(value)


def test_ties_zeros_and_constants_do_not_crash_or_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = prior_post([50.0, 60, 70, 70], [50.0, 60, 70, 70])
        assert (same.wilcoxon_p, same.difference.estimate, same.difference.p, same.ks_p) == (1, 0, 1, 1)
        flat = prior_post([100.0] * 5, [100.0, 90, 90, 100, 100])
        assert math.isnan(flat.slope) and math.isnan(flat.r.estimate) and math.isnan(flat.r2)
        assert flat.difference.estimate == -4
        lone = prior_post([1.0, 2, 3], [1.0, 2, 4], resampling=Resampling(bounds=(0, 100)))
        assert lone.difference.low >= -100 and lone.difference.high <= 100


def test_noise_alone_gives_a_slope_below_one() -> None:
    """Regression to the mean: no change at all in the true scores, yet a slope of a half."""
    rng = np.random.default_rng(1)
    truth = rng.normal(50, 10, 400)
    result = prior_post(truth + rng.normal(0, 10, 400), truth + rng.normal(0, 10, 400))
    assert result.slope == pytest.approx(0.5, abs=0.1)
    assert result.difference.low < 0 < result.difference.high


def test_families_are_resampled_whole() -> None:
    rng = np.random.default_rng(2)
    family = np.repeat(np.arange(10), 8)
    gap = rng.normal(0, 10, 10)[family]
    prior = rng.uniform(20, 80, 80)
    alone, whole = prior_post(prior, prior + gap), prior_post(prior, prior + gap, family)
    assert whole.difference.high - whole.difference.low > 2 * (alone.difference.high - alone.difference.low)
    with pytest.raises(ValueError, match="family must hold 80 labels"):
        prior_post(prior, prior, family[:5])


def test_families_that_move_together_are_not_many_independent_questions() -> None:
    """The published tests take questions for independent; whole families changing sides do not."""
    rng = np.random.default_rng(11)
    family = np.repeat(np.arange(12), 4)
    hits = np.zeros(3)
    for seed in range(120):
        a, b = (rng.normal(size=12)[family] + 0.3 * rng.normal(size=48) for _ in range(2))
        found = prior_post(a, b, family, Resampling(199, seed=seed))
        hits += [found.wilcoxon_p <= 0.05, found.wilcoxon_family_p <= 0.05, found.ks_family_p <= 0.05]
    assert hits[0] / 120 > 0.15
    assert hits[1] / 120 < 0.12 and hits[2] / 120 < 0.12
    moved = prior_post(a, a + 1.5, family, Resampling(999))
    assert moved.wilcoxon_family_p < 0.01 and moved.ks_family_p < 0.05


def test_a_single_family_cannot_change_sides() -> None:
    found = prior_post([1.0, 2, 3, 4], [2.0, 3, 4, 6], [0, 0, 0, 0])
    assert np.isnan(found.wilcoxon_family_p) and np.isnan(found.ks_family_p)
    same = prior_post([1.0, 2, 3, 4], [1.0, 2, 3, 4], [0, 1, 2, 3])
    assert same.wilcoxon_family_p == 1 and same.ks_family_p == 1
