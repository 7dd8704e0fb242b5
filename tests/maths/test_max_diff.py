"""max_diff: the published value, its pair, and a null that allows for noise and for many pairs."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from spillover.maths.dynamics import max_diff, monotone_fit
from spillover.maths.estimate import Resampling

QUICK = Resampling(draws=199)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=2, max_size=15))
@settings(deadline=None, derandomize=True)
def test_value_and_pair_are_the_loops(rows: list[tuple[int, int]]) -> None:
    x, y = np.array(rows, dtype=float).T
    gains = [y[i] - y[j] for i, j in product(range(len(x)), repeat=2) if i != j and x[i] <= x[j]]
    found = max_diff(x, y)
    assert found.value == max(gains)
    assert found.better != found.worse and x[found.better] <= x[found.worse]
    assert y[found.better] - y[found.worse] == found.value


def test_a_rising_relation_has_no_gain() -> None:
    assert max_diff([1.0, 2, 3], [1.0, 2, 4]).value == -1


def test_missing_runs_are_left_out_and_positions_stay_those_given() -> None:
    found = max_diff([np.nan, 1.0, 2.0, 3.0], [50.0, 9.0, np.nan, 4.0], [1.0, 1, 1, 1], QUICK)
    assert (found.value, found.better, found.worse, found.n) == (5, 1, 3, 2)
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
