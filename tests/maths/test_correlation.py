"""Correlations against scipy and plain loops; intervals that cover; tests that hold their level.
The permutation null of a partial correlation, by simulation.
Correlation over runs when questions are a sample too.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spillover.maths.correlation import (
    correlation_over_runs,
    jackknife_error,
    log_pearson,
    partial,
    pearson,
    permuted_partial,
    spearman,
    z_interval,
)
from spillover.maths.estimate import Resampling
from spillover.maths.permutation import exceedance, permutations

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

    x, y = np.array([1.0, 2, 3, 4, 7]), np.array([2.0, 1, 4, 3, 9])
    r = abs(np.corrcoef(x, y)[0, 1])
    exact = np.mean([abs(np.corrcoef(x, y[list(o)])[0, 1]) >= r - 1e-12 for o in itertools.permutations(range(5))])
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
        a, b = (side - side.mean() for side in (x, y))
        rows += exceedance(a @ b, b[permutations(60, 199, seed)] @ a) <= 0.05
        whole += exceedance(a @ b, b[permutations(60, 199, seed, groups)] @ a) <= 0.05
    assert rows / 200 > 0.25
    assert whole / 200 <= 0.09


def test_mismatched_input_says_what_came() -> None:
    with pytest.raises(ValueError, match="2 entries like the others, got 3"):
        pearson([1.0, 2], [1.0, 2, 3])
    with pytest.raises(ValueError, match="clusters must hold 2 labels"):
        pearson([1.0, 2], [1.0, 2], ["a"])


def test_permuted_partial_is_the_partial_correlation() -> None:
    rng = np.random.default_rng(0)
    x, y, given = rng.normal(size=40), rng.normal(size=40), rng.normal(size=(40, 2))
    r, drawn = permuted_partial(x, y, given, permutations(40, 99, 1))
    assert np.isclose(r, partial(x, y, given).estimate, atol=1e-12)
    assert drawn.shape == (99,) and abs(drawn.mean()) < 0.05


def _freedman_lane_p(seed: int, effect: float) -> float:
    """40 prompts in 20 families of two formats; the format drives both sides, whatever the effect is."""
    rng = np.random.default_rng(seed)
    family, format = np.repeat(np.arange(20), 2), np.tile([0.0, 1.0], 20)
    own, common = rng.normal(size=40), rng.normal(size=20)[family]
    x = 4 * format + own + common
    y = -4 * format + effect * own + rng.normal(size=40) + rng.normal(size=20)[family]
    r, drawn = permuted_partial(x, y, format[:, None], permutations(40, 199, seed, family))
    return float(exceedance(np.array(r), drawn))


def test_a_covariate_on_both_sides_makes_no_false_alarm_and_hides_no_effect() -> None:
    null = np.array([_freedman_lane_p(seed, 0.0) for seed in range(200)])
    assert 0.01 <= (null <= 0.05).mean() <= 0.1
    assert np.mean([_freedman_lane_p(seed, 3.0) <= 0.05 for seed in range(60)]) > 0.85


def test_nothing_left_beside_the_covariate_is_no_correlation() -> None:
    x = np.arange(10.0)
    r, drawn = permuted_partial(x, np.sin(x), x[:, None], permutations(10, 19, 0))
    assert np.isnan(r) and np.isnan(drawn).all()


FEW = Resampling(draws=99)


def runs_and_questions(rng: np.random.Generator, runs: int, questions: int, slopes: float) -> tuple[Any, Any]:
    x = rng.normal(size=runs)
    y = x[:, None] + 0.5 * rng.normal(size=(runs, 1)) + 5 * rng.normal(size=questions)
    return x, y + slopes * rng.normal(size=questions) * x[:, None] + rng.normal(size=(runs, questions))


def test_over_runs_the_value_is_log_pearson_of_the_means() -> None:
    rng = np.random.default_rng(0)
    x, y = runs_and_questions(rng, 12, 24, 1.0)
    result = correlation_over_runs(np.exp(x), y)
    plain = log_pearson(np.exp(x), y.mean(axis=1))
    assert result.both.estimate == pytest.approx(plain.estimate)
    assert result.runs.low == pytest.approx(plain.low)
    assert result.runs.p == plain.p
    assert (result.both.n, result.n_questions) == (12, 24)


@pytest.mark.parametrize("runs,questions", [(12, 24), (35, 24), (35, 8)])
def test_both_covers_where_runs_alone_does_not(runs: int, questions: int) -> None:
    rng = np.random.default_rng(1)
    slopes = 1.5
    truth = 1 / math.hypot(1, math.hypot(0.5, 1 / math.sqrt(questions)))
    both = alone = 0
    for _ in range(300):
        x, y = runs_and_questions(rng, runs, questions, slopes)
        result = correlation_over_runs(x, y, log=False, resampling=FEW)
        both += result.both.low <= truth <= result.both.high
        alone += result.runs.low <= truth <= result.runs.high
    assert both / 300 >= 0.92
    assert alone / 300 < both / 300


def test_runs_and_questions_that_lack_scores() -> None:
    rng = np.random.default_rng(2)
    x, y = runs_and_questions(rng, 10, 12, 0.5)
    holed = y.copy()
    holed[0] = np.nan
    holed[3, 5] = np.nan
    result = correlation_over_runs(x, holed, log=False)
    clean = correlation_over_runs(x[1:], np.delete(y[1:], 5, axis=1), log=False)
    assert result == clean
    nothing = correlation_over_runs(x, np.full((10, 3), np.nan), log=False)
    assert math.isnan(nothing.both.estimate) and nothing.n_questions == 0


def test_families_of_questions_count_as_one() -> None:
    rng = np.random.default_rng(3)
    x, y = runs_and_questions(rng, 20, 8, 2.0)
    copies = np.repeat(y, 4, axis=1)
    family = np.repeat(np.arange(8), 4)
    once, fooled = correlation_over_runs(x, y, log=False), correlation_over_runs(x, copies, log=False)
    honest = correlation_over_runs(x, copies, family, log=False)
    assert honest.questions.high - honest.questions.low == pytest.approx(once.questions.high - once.questions.low)
    assert fooled.questions.high - fooled.questions.low < 0.8 * (once.questions.high - once.questions.low)


def test_runs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="transpose"):
        correlation_over_runs([1.0, 2], np.ones((3, 2)))
    with pytest.raises(ValueError, match="log=False"):
        correlation_over_runs([-1.0, 2], np.ones((2, 2)))
