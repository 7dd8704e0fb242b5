"""max_diff: the published value, its pair, and a null that allows for noise and for many pairs.
Onset: a planted step is found where it is, a straight line at its middle, and noise says that it knows little.
Barriers: planted ones are found, flat lines are not, and the interval holds the truth.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from spillover.maths.dynamics import barrier, half_changes, max_diff, monotone_fit, onset
from spillover.maths.estimate import Resampling

QUICK = Resampling(draws=199)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=2, max_size=15))
@settings(deadline=None, derandomize=True)
def test_value_and_pair_are_the_loops(rows: list[tuple[int, int]]) -> None:
    x, y = np.array(rows, dtype=float).T
    gains = [y[i] - y[j] for i, j in product(range(len(x)), repeat=2) if i != j and x[i] <= x[j]]
    gain = max_diff(x, y)
    assert gain.value == max(gains)
    assert gain.better != gain.worse and x[gain.better] <= x[gain.worse]
    assert y[gain.better] - y[gain.worse] == gain.value


def test_a_rising_relation_has_no_gain() -> None:
    assert max_diff([1.0, 2, 3], [1.0, 2, 4]).value == -1


def test_missing_runs_are_left_out_and_positions_stay_those_given() -> None:
    gain = max_diff([np.nan, 1.0, 2.0, 3.0], [50.0, 9.0, np.nan, 4.0], [1.0, 1, 1, 1], QUICK)
    assert (gain.value, gain.better, gain.worse, gain.n) == (5, 1, 3, 2)
    assert math.isnan(max_diff([1.0], [1.0]).value) and max_diff([], []).better == -1
    assert math.isnan(max_diff([1.0], [1.0], [1.0]).p or 0)
    with pytest.raises(ValueError, match="above 0, got 0"):
        max_diff([1.0, 2], [1.0, 2], [0.0, 1])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_fit_is_scipys_isotonic_when_nothing_is_pooled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, se = rng.permutation(12).astype(float), rng.normal(size=12), rng.uniform(0.5, 2, 12)
    order = np.argsort(x)
    direct = isotonic_regression(y[order], weights=1 / se[order] ** 2).x
    assert np.allclose(monotone_fit(x, y, se, pool=0)[order], direct)
    pooled = monotone_fit(x, y, se)[order]
    assert (np.diff(pooled) >= -1e-12).all()
    assert np.average(pooled, weights=1 / se[order] ** 2) == pytest.approx(
        np.average(direct, weights=1 / se[order] ** 2)
    )


def test_the_fit_takes_ties_and_pools_what_noise_cannot_tell_apart() -> None:
    assert monotone_fit([1.0, 1, 2], [3.0, 5, 10], [1.0, 1, 1]).tolist() == [4, 4, 10]
    assert monotone_fit([1.0, 2], [0.0, 1], [1.0, 1]).tolist() == [0.5, 0.5]
    assert monotone_fit([1.0, 2], [0.0, 9], [1.0, 1]).tolist() == [0, 9]


@pytest.mark.parametrize("truth", ["flat", "slope", "steps"])
def test_runs_that_follow_a_monotone_line_are_seldom_called(truth: str) -> None:
    rng = np.random.default_rng(0)
    x = np.arange(35.0)
    level = {"flat": 0 * x, "slope": 0.2 * x, "steps": 4 * np.floor(x / 9)}[truth]
    called = [(max_diff(x, level + rng.normal(size=35), np.ones(35), QUICK).p or 1) <= 0.05 for _ in range(300)]
    assert np.mean(called) <= 0.09


def test_a_raw_threshold_would_call_them_nearly_always() -> None:
    """Of 35 equal runs, some pair differs by three standard errors nearly always."""
    rng = np.random.default_rng(1)
    x = np.arange(35.0)
    gains = [max_diff(x, rng.normal(size=35)).value for _ in range(300)]
    assert np.mean(np.array(gains) > 3) > 0.6


def test_power() -> None:
    rng = np.random.default_rng(2)
    x = np.arange(35.0)
    called = []
    for _ in range(150):
        y: Any = 0.2 * x + rng.normal(size=35)
        y[10] += 6
        called.append((max_diff(x, y, np.ones(35), QUICK).p or 1) <= 0.05)
    assert np.mean(called) > 0.8


def test_what_is_called_detectable_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(3)
    x, se = np.sort(rng.uniform(1, 2, 20)), np.full(20, 2.0)
    truth = 60 + 10 * (x > 1.5)
    lift = np.median([max_diff(x, truth + rng.normal(0, se), se, QUICK).detectable for _ in range(30)])
    assert 4 < lift < 20
    hits = []
    for _ in range(150):
        y = truth + rng.normal(0, se)
        y[rng.integers(19)] += lift
        hits.append(max_diff(x, y, se, QUICK).p <= 0.05)
    assert 0.65 < np.mean(hits) < 0.92
    assert max_diff(x, truth).detectable is None


STEPS = np.array([0, 10, 20, 30, 40, 50])


def trajectories(curve: np.ndarray, seed: int, noise: float = 5.0, questions: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return curve[:, None] + rng.normal(0, 10, questions) + rng.normal(0, noise, (len(curve), questions))


def test_a_sharp_change_is_found_and_a_straight_line_is_halfway() -> None:
    sharp = onset(STEPS, trajectories(np.array([80, 80, 80, 60, 60, 60.0]), 0))
    assert sharp.change.estimate == 25 and sharp.change.low == sharp.change.high == 25 and sharp.support[2] == 1
    assert 20 < sharp.half.low <= sharp.half.high < 30
    line = onset(STEPS, trajectories(np.linspace(80, 55, 6), 1))
    assert line.half.estimate == pytest.approx(25, abs=5)


def test_noise_alone_has_no_place() -> None:
    result = onset(STEPS, trajectories(np.full(6, 70.0), 3, noise=20))
    assert result.support.max() < 0.95 and result.support.sum() == pytest.approx(1)
    assert result.change.high > result.change.low


def test_the_interval_holds_the_truth() -> None:
    curve = 80 - 20 / (1 + np.exp(-(STEPS - 27) / 6.0))
    start, end = curve[0], curve[-1]
    truth = np.interp((start + end) / 2, curve[::-1], STEPS[::-1])
    held = 0
    for seed in range(120):
        half = onset(STEPS, trajectories(curve, seed), resampling=Resampling(199)).half
        held += half.low <= truth <= half.high
    assert held / 120 > 0.87


def test_each_question_and_odd_input() -> None:
    values = np.array([[10, 10.0, np.nan], [10, 5, 3], [0, 0, 2]])
    result = half_changes([0, 4, 8], values)
    assert result[:2].tolist() == [6, 4] and np.isnan(result[2])
    assert np.isnan(half_changes([0, 1], np.ones((2, 1)))).all()
    with pytest.raises(ValueError, match="rising steps"):
        onset([0, 5, 5], np.zeros((3, 2)))


SHARE = np.linspace(0, 1, 5)


def losses_of_lines(seed: int, height: float, rows: int = 40, noise: float = 0.3) -> np.ndarray:
    """Losses of rows that differ much among themselves, on a line that rises by `height` in its middle."""
    rng = np.random.default_rng(seed)
    level = rng.normal(3, 1, rows) + np.outer(SHARE, rng.normal(-0.5, 0.3, rows))
    return level + height * 4 * (SHARE * (1 - SHARE))[:, None] + rng.normal(0, noise, (5, rows))


def test_height_and_place_are_exact_without_noise() -> None:
    line = barrier(SHARE, losses_of_lines(0, 0.4, noise=0.0))
    assert line.height.estimate == pytest.approx(0.4) and line.share == 0.5
    assert line.excess == pytest.approx(0.4 * 4 * SHARE * (1 - SHARE))
    assert barrier(
        SHARE, losses_of_lines(0, 0.4, noise=0.0), clusters=np.arange(40) // 2
    ).height.estimate == pytest.approx(0.4)


def test_false_alarms_power_and_coverage() -> None:
    resampling = Resampling(199)
    flat = np.array([barrier(SHARE, losses_of_lines(seed, 0.0), resampling=resampling).height.p for seed in range(300)])
    assert (flat <= 0.05).mean() <= 0.09
    high = [barrier(SHARE, losses_of_lines(seed, 0.4), resampling=resampling).height for seed in range(100)]
    assert np.mean([height.p <= 0.05 for height in high]) > 0.9
    assert np.mean([height.low <= 0.4 <= height.high for height in high]) > 0.85


def test_a_row_that_lacks_a_loss_is_left_out_with_its_cluster_label() -> None:
    losses, clusters = losses_of_lines(1, 0.4), np.arange(40) // 2
    holed = losses.copy()
    holed[2, 7] = np.nan
    whole = barrier(SHARE, np.delete(losses, 7, axis=1), np.delete(clusters, 7))
    assert barrier(SHARE, holed, clusters).height == whole.height


def test_what_cannot_be_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="0, 1 and a point between"):
        barrier([0, 1], np.zeros((2, 4)))
    with pytest.raises(ValueError, match="a row for each"):
        barrier(SHARE, np.zeros((4, 9)))
    assert np.isnan(barrier(SHARE, np.full((5, 3), np.nan)).height.estimate)
