"""Paired comparisons: differences over shared questions, families that change sides, prior against post."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.estimate import Resampling
from spillover.maths.paired import difference, paired_mean, prior_post

from .clustered_answers import answers


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
        result = prior_post(a, b, family, Resampling(199, seed=seed))
        hits += [result.wilcoxon_p <= 0.05, result.wilcoxon_family_p <= 0.05, result.ks_family_p <= 0.05]
    assert hits[0] / 120 > 0.15
    assert hits[1] / 120 < 0.12 and hits[2] / 120 < 0.12
    moved = prior_post(a, a + 1.5, family, Resampling(999))
    assert moved.wilcoxon_family_p < 0.01 and moved.ks_family_p < 0.05


def test_a_single_family_cannot_change_sides() -> None:
    result = prior_post([1.0, 2, 3, 4], [2.0, 3, 4, 6], [0, 0, 0, 0])
    assert np.isnan(result.wilcoxon_family_p) and np.isnan(result.ks_family_p)
    same = prior_post([1.0, 2, 3, 4], [1.0, 2, 3, 4], [0, 1, 2, 3])
    assert same.wilcoxon_family_p == 1 and same.ks_family_p == 1


def test_difference_is_paired_over_shared_questions() -> None:
    est = difference([10.0, 20, 90], [5.0, 5, 50], ["a", "b", "only a"], ["a", "b", "only b"])
    assert (est.estimate, est.n) == (10, 2)


def test_difference_holds_its_level_and_has_power() -> None:
    rng = np.random.default_rng(5)
    null = effect = 0
    resampling = Resampling(draws=499)
    for _ in range(300):
        values, question, family = answers(rng, 16)
        other = np.clip(values + 20 * rng.normal(size=len(values)) + 10 * rng.normal(size=16)[family], -200, 300)
        null += (difference(values, other, question, question, family, resampling).p or 1) <= 0.05
        effect += (difference(values, other + 12, question, question, family, resampling).p or 1) <= 0.05
    assert 0.02 <= null / 300 <= 0.08
    assert effect / 300 > 0.9


def test_pairing_is_narrower_than_not() -> None:
    rng = np.random.default_rng(6)
    values, question, family = answers(rng, 24)
    other = values + rng.normal(size=len(values))
    paired = difference(values, other, question, question, family)
    alone = mean_of_groups(values, question, family)
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_no_difference_at_all_is_p_one() -> None:
    est = difference([1.0, 2, 3], [1.0, 2, 3], ["a", "b", "c"], ["a", "b", "c"])
    assert (est.estimate, est.p) == (0, 1.0)


def test_rare_events_on_both_sides_do_not_reject_too_often() -> None:
    rng, rejected, held = np.random.default_rng(2), 0, 0
    for seed in range(200):
        a, b = (rng.binomial(20, rng.beta(0.2, 8, 24)) / 20 for _ in range(2))
        estimate = paired_mean(a - b, np.arange(24), Resampling(199, seed=seed, bounds=(0, 1)))
        rejected += (estimate.p or 1) <= 0.05
        held += bool(estimate.low <= 0 <= estimate.high)
    assert rejected <= 20
    assert held >= 180


def test_a_shift_is_found_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(3)
    gaps = 5 + 4 * rng.normal(size=24)
    estimate = paired_mean(gaps, np.arange(24) // 2, Resampling(999, bounds=(0, 100)))
    assert (estimate.p or 1) < 0.01 and 0 < estimate.low < 5 < estimate.high
