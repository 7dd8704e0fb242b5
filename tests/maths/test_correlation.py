"""Correlations against scipy and plain loops; intervals that cover; tests that hold their level."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spillover.maths.correlation import (
    jackknife_error,
    log_pearson,
    partial,
    pearson,
    permutation_p,
    spearman,
    z_interval,
)
from spillover.maths.estimate import Resampling

QUICK = Resampling(draws=199)


def pair(rng: np.random.Generator, n: int, rho: float) -> tuple[Any, Any]:
    x = rng.normal(size=n)
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n)


@given(st.integers(0, 10**6), st.integers(4, 30))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_values_are_scipys_with_ties_and_gaps(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.normal(size=n), 1), rng.integers(0, 5, n).astype(float)
    x[0], x[1], y[0], y[1] = 0.0, 1.0, 0.0, 1.0
    est, rank = pearson(x, y, resampling=QUICK), spearman(x, y, resampling=QUICK)
    assert est.estimate == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert rank.estimate == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    gaps = pearson(np.r_[x, np.nan, 3.0], np.r_[y, 1.0, np.nan], resampling=QUICK)
    assert (gaps.estimate, gaps.n) == (est.estimate, n)


def test_the_jackknife_is_a_loop_over_left_out_clusters() -> None:
    rng = np.random.default_rng(0)
    x, y = pair(rng, 40, 0.5)
    cluster = rng.integers(0, 9, 40)
    est = pearson(x, y, cluster)
    r = [np.corrcoef(x[cluster != g], y[cluster != g])[0, 1] for g in np.unique(cluster)]
    low, high, p = z_interval(est.estimate, jackknife_error(np.array(r)), len(r) - 2)
    assert (est.low, est.high, est.p) == pytest.approx((low, high, p), abs=1e-12)


@pytest.mark.parametrize("clustered", [False, True])
def test_partial_is_the_correlation_of_residuals_and_its_jackknife_refits_them(clustered: bool) -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(30, 2))
    x, y = z[:, 0] + rng.normal(size=30), z @ [1, -1] + rng.normal(size=30)
    cluster = np.arange(30) // 3 if clustered else np.arange(30)

    def direct(rows: Any) -> float:
        design = np.column_stack([np.ones(rows.sum()), z[rows]])
        left = [v[rows] - design @ np.linalg.lstsq(design, v[rows])[0] for v in (x, y)]
        return float(np.corrcoef(*left)[0, 1])

    est = partial(x, y, z, cluster)
    assert est.estimate == pytest.approx(direct(np.ones(30, dtype=bool)), abs=1e-12)
    error = jackknife_error(np.array([direct(cluster != g) for g in np.unique(cluster)]))
    low, high, _ = z_interval(est.estimate, error, len(np.unique(cluster)) - 2)
    assert (est.low, est.high) == pytest.approx((low, high), abs=1e-10)


def test_a_common_cause_makes_a_correlation_that_partial_takes_away() -> None:
    rng = np.random.default_rng(2)
    cause = rng.normal(size=200)
    x, y = cause + rng.normal(size=200), cause + rng.normal(size=200)
    assert (pearson(x, y).p or 1) < 0.01
    given_cause = partial(x, y, cause)
    assert given_cause.low < 0 < given_cause.high
    assert abs(partial(x, y, rng.normal(size=(200, 1))).estimate - pearson(x, y).estimate) < 0.05


def test_log_pearson_is_pearson_of_the_log() -> None:
    x, y = [0.1, 0.2, 0.4, 0.9], [1.0, 2.0, 2.5, 5.0]
    assert log_pearson(x, y).estimate == pytest.approx(stats.pearsonr(np.log(x), y).statistic)
    with pytest.raises(ValueError, match="log needs x > 0, got -1"):
        log_pearson([-1.0, 2.0], [1.0, 2.0])


def test_too_little_data_is_nan_not_a_crash() -> None:
    for est in (
        pearson([], []),
        pearson([1.0, 2], [1.0, 2]),
        spearman([1.0], [2.0]),
        partial([1.0, 2], [2.0, 1], [0, 1]),
    ):
        assert math.isnan(est.estimate) and math.isnan(est.p or 0)
    flat = pearson([1.0, 1, 1, 1], [1.0, 2, 3, 4])
    assert math.isnan(flat.estimate) and flat.n == 4
    assert math.isnan(pearson([1.0, 2, 3, 4, 5], [2.0, 4, 6, 8, 10]).low)
    lever = pearson([0.0, 0, 0, 0, 9], [1.0, 2, 3, 4, 5])
    assert not math.isnan(lever.estimate) and math.isnan(lever.low)
    assert math.isnan(partial([1.0, 2, 3, 4, 6], [2.0, 1, 4, 3, 3], [1.0, 2, 3, 4, 6]).estimate)


def test_permutation_p_is_exact_in_small_samples() -> None:
    from itertools import permutations

    x, y = np.array([1.0, 2, 3, 4, 7]), np.array([2.0, 1, 4, 3, 9])
    r = abs(np.corrcoef(x, y)[0, 1])
    exact = np.mean([abs(np.corrcoef(x, y[list(o)])[0, 1]) >= r - 1e-12 for o in permutations(range(5))])
    assert permutation_p(x, y, draws=20000) == pytest.approx(exact, abs=0.01)
    assert pearson(x, y, resampling=Resampling(draws=20000)).p == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("n,rho", [(12, 0.0), (35, 0.8), (100, 0.5)])
def test_the_interval_covers_with_scores_at_both_ends(n: int, rho: float) -> None:
    rng = np.random.default_rng(n)

    def scores(size: int) -> tuple[Any, Any]:
        x, y = pair(rng, size, rho)
        return np.clip(80 + 30 * x, 0, 100), np.clip(60 + 40 * y, 0, 100)

    truth = np.corrcoef(*scores(400_000))[0, 1]
    held = [
        est.low <= truth <= est.high
        for est in (pearson(*scores(n), resampling=Resampling(draws=99)) for _ in range(500))
    ]
    assert 0.92 <= np.mean(held) <= 0.98


def test_clusters_widen_and_keep_the_level() -> None:
    """Families share both x and y: permuting rows would call noise a finding, clusters do not."""
    rng = np.random.default_rng(4)
    wrong = right = held = 0
    for _ in range(300):
        family = np.repeat(np.arange(20), 5)
        x = rng.normal(size=20)[family] + 0.3 * rng.normal(size=100)
        y = rng.normal(size=20)[family] + 0.3 * rng.normal(size=100)
        wrong += (pearson(x, y, resampling=QUICK).p or 1) <= 0.05
        est = pearson(x, y, family)
        right += (est.p or 1) <= 0.05
        held += est.low <= 0 <= est.high
    assert wrong / 300 > 0.3
    assert 0.02 <= right / 300 <= 0.085
    assert 0.915 <= held / 300 <= 0.98


def test_level_and_power_of_the_permutation_test() -> None:
    rng = np.random.default_rng(5)
    for test in (pearson, spearman):
        null = np.mean([(test(*pair(rng, 24, 0.0), resampling=QUICK).p or 1) <= 0.05 for _ in range(400)])
        power = np.mean([(test(*pair(rng, 24, 0.7), resampling=QUICK).p or 1) <= 0.05 for _ in range(100)])
        assert 0.025 <= null <= 0.08
        assert power > 0.85


def test_permuting_groups_keeps_the_level_where_rows_do_not() -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(15), 4)
    rows = whole = 0
    for seed in range(200):
        x, y = rng.normal(size=15)[groups], rng.normal(size=15)[groups] + 0.2 * rng.normal(size=60)
        rows += permutation_p(x, y, 199, seed) <= 0.05
        whole += permutation_p(x, y, 199, seed, groups) <= 0.05
    assert rows / 200 > 0.25
    assert whole / 200 <= 0.09


def test_mismatched_input_says_what_came() -> None:
    with pytest.raises(ValueError, match="2 entries like the others, got 3"):
        pearson([1.0, 2], [1.0, 2, 3])
    with pytest.raises(ValueError, match="clusters must hold 2 labels"):
        pearson([1.0, 2], [1.0, 2], ["a"])
    with pytest.raises(ValueError, match="drop them"):
        permutation_p([1.0, np.nan, 3], [1.0, 2, 3])
