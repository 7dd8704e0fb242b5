"""Means of clustered scores: estimands, intervals that cover, tests that hold their level."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillover.maths.bootstrap import mean, mean_of_groups, question_means, ratio, resampling_counts
from spillover.maths.estimate import Resampling
from spillover.maths.paired import difference

from .clustered_answers import answers

SCORES = Resampling(draws=499, bounds=(0, 100))


def test_every_question_weighs_the_same() -> None:
    values, question = [0.0, 0, 0, 0, 100], ["a", "a", "a", "a", "b"]
    assert mean_of_groups(values, question).estimate == 50
    assert mean(values).estimate == 20


def test_missing_answers_are_left_out_not_zero() -> None:
    est = mean_of_groups([80.0, math.nan, 60.0, math.nan], ["a", "a", "b", "c"])
    assert (est.estimate, est.n) == (70, 2)
    means, names, _ = question_means([80.0, math.nan, 60.0, math.nan], ["a", "a", "b", "c"])
    assert np.isnan(means[2]) and names.tolist() == ["a", "b", "c"]


def test_no_data_is_nan() -> None:
    for est in (
        mean([]),
        mean([math.nan]),
        mean_of_groups([math.nan], ["a"]),
        difference([1.0], [2.0], ["a"], ["b"]),
    ):
        assert math.isnan(est.estimate) and math.isnan(est.low) and math.isnan(est.high) and est.n == 0


def test_one_cluster_has_no_interval() -> None:
    est = mean([1.0, 2.0, 3.0], clusters=["a", "a", "a"], null=0.0)
    assert est.estimate == 2 and math.isnan(est.low) and math.isnan(est.p or 0)


def test_equal_values_give_no_interval_unless_the_scale_has_ends() -> None:
    assert math.isnan(mean([5.0] * 8).low)
    bounded = mean([100.0] * 24, resampling=SCORES)
    assert bounded.high == 100
    assert bounded.low == pytest.approx(100 * 0.025 ** (1 / 24))  # Clopper-Pearson, 24 of 24


def test_interval_matches_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    x = rng.exponential(size=12)
    est = mean(x, resampling=Resampling(draws=2000))
    pivots = []
    for counts in resampling_counts(12, 2000, 0):
        drawn = np.repeat(x, counts.astype(int))
        pivots.append((drawn.mean() - x.mean()) / (drawn.std(ddof=0) * math.sqrt(12 / 11) / math.sqrt(12)))
    error = x.std(ddof=1) / math.sqrt(12)
    low, high = np.quantile(pivots, [0.025, 0.975], method="inverted_cdf")
    assert est.low == pytest.approx(x.mean() - high * error, abs=1e-10)
    assert est.high == pytest.approx(x.mean() - low * error, abs=1e-10)


@given(st.integers(0, 10**6), st.floats(-50, 50), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_moves_with_shift_and_scale_and_not_with_row_order(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values, question, family = answers(rng, 6)
    resampling = Resampling(draws=199)
    est = mean_of_groups(values, question, family, resampling=resampling)
    moved = mean_of_groups(values * scale + shift, question, family, resampling=resampling)
    assert moved.low == pytest.approx(est.low * scale + shift, rel=1e-6, abs=1e-6)
    order = rng.permutation(len(values))
    shuffled = mean_of_groups(values[order], question[order], family[order], resampling=resampling)
    assert shuffled.estimate == pytest.approx(est.estimate)
    assert shuffled.high == pytest.approx(est.high)


@pytest.mark.parametrize("families,low,high", [(8, 0.915, 0.985), (24, 0.92, 0.98), (100, 0.92, 0.98)])
def test_the_interval_covers(families: int, low: float, high: float) -> None:
    rng = np.random.default_rng(families)
    truth = answers(rng, 20000)[0].mean()
    held = 0
    for _ in range(600):
        est = mean_of_groups(*answers(rng, families), resampling=SCORES)
        held += est.low <= truth <= est.high
    assert low <= held / 600 <= high


def test_ignoring_the_clusters_covers_far_too_seldom() -> None:
    rng = np.random.default_rng(1)
    truth = answers(rng, 20000)[0].mean()
    held = 0
    for _ in range(200):
        est = mean(answers(rng, 24)[0], resampling=SCORES)
        held += est.low <= truth <= est.high
    assert held / 200 < 0.6


def test_p_and_interval_agree() -> None:
    rng = np.random.default_rng(7)
    for shift in np.linspace(0, 1.2, 25):
        est = mean(rng.normal(shift, 1, 15), null=0.0)
        assert ((est.p or 0) < 0.049) <= (est.low > 0 or est.high < 0)
        assert (est.low > 0 or est.high < 0) <= ((est.p or 1) < 0.052)


def test_ratio_weighs_by_the_denominator() -> None:
    est = ratio([1.0, 9.0], [10.0, 10.0])
    assert est.estimate == 0.5
    assert ratio([1.0, 0.0], [10.0, 0.0]).n == 1


def test_a_family_holds_whole_questions() -> None:
    with pytest.raises(ValueError, match="question a stands in more than one family"):
        mean_of_groups([1.0, 2.0], ["a", "a"], ["f", "g"])


def test_values_outside_the_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="outside the bounds"):
        mean([150.0, 160.0], resampling=SCORES)


def test_same_seed_same_numbers() -> None:
    x = np.random.default_rng(0).normal(size=20)
    assert mean(x) == mean(x)
    assert mean(x).low != mean(x, resampling=Resampling(seed=1)).low


def test_many_clusters_are_drawn_in_parts_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=50)
    whole = mean(x, null=0.0)
    monkeypatch.setattr("spillover.maths.bootstrap.LARGEST", 333)
    parts = mean(x, null=0.0)
    assert (parts.low, parts.high, parts.p) == pytest.approx((whole.low, whole.high, whole.p))
