"""Training runs are units beside questions: intervals hold a run effect, and stay narrow where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.paired import difference
from spillover.maths.runs import Arm, difference_of_arms, run_variance, undoing_sd, with_runs
from spillover.maths.simulated import simulated_arms

QUICK = Resampling(draws=199)


def rejections(runs: tuple[int, int], spread: float, rounds: int = 300) -> tuple[float, float]:
    """Share of null draws with p < .05 over runs and questions, and over questions alone."""
    both = alone = 0
    for seed in range(rounds):
        a, b = simulated_arms(np.random.default_rng((7, seed)), runs, spread)
        gap = difference(a.values, b.values, a.question, b.question, a.family, QUICK)
        alone += bool(gap.p < 0.05)
        both += bool(with_runs(gap, a, b, QUICK).p < 0.05)
    return both / rounds, alone / rounds


@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (5, 2), (3, 1)])
def test_a_run_effect_makes_no_false_positives(runs):
    both, alone = rejections(runs, 4.0)
    assert both < 0.10  # 5% wanted; the Monte Carlo error of 300 draws is 1.3%
    assert alone > 0.25  # the negative control: seeds pooled as if they were questions


def test_without_a_run_effect_little_is_paid():
    both, _ = rejections((3, 3), 0.0)
    assert both < 0.075
    widths = []
    for seed in range(40):
        a, b = simulated_arms(np.random.default_rng((8, seed)), (3, 3), 0.0)
        gap = difference(a.values, b.values, a.question, b.question, a.family, QUICK)
        wide = with_runs(gap, a, b, QUICK)
        widths.append((wide.high - wide.low) / (gap.high - gap.low))
    assert 1.0 <= np.median(widths) < 1.2


def test_a_real_difference_is_found():
    hits = 0
    for seed in range(40):
        gap = difference_of_arms(*simulated_arms(np.random.default_rng((9, seed)), (5, 5), 2.0, shift=-10.0), QUICK)
        hits += bool(gap.p < 0.05 and gap.high < 0)
    assert hits >= 36


def test_the_run_component_is_measured():
    sds = [run_variance(*simulated_arms(np.random.default_rng((3, seed)), (10, 10), 4.0)).sd for seed in range(40)]
    assert np.mean(sds) == pytest.approx(4.0, abs=0.4)
    none = [run_variance(*simulated_arms(np.random.default_rng((4, seed)), (10, 10), 0.0)).sd for seed in range(40)]
    assert np.mean(none) < 0.6


def test_families_of_several_questions_and_missing_scores():
    a, b = simulated_arms(np.random.default_rng(0), (3, 3), 4.0)
    pairs = [replace(arm, family=np.asarray(arm.question) // 2) for arm in (a, b)]
    for arm in pairs:
        arm.values[(np.asarray(arm.run) == 1) & (np.asarray(arm.question) == 5)] = np.nan  # one run lacks a question
    runs = run_variance(*pairs)
    assert runs.df == 4
    assert runs.sd == pytest.approx(run_variance(a, b).sd, rel=0.5)
    gap = difference_of_arms(*pairs, QUICK)
    assert gap.n == 40
    assert gap.low < gap.estimate < gap.high


def test_one_run_an_arm_and_an_untrained_model_leave_the_interval_as_it_is():
    a, b = simulated_arms(np.random.default_rng(1), (1, 1), 4.0)
    gap = difference(a.values, b.values, a.question, b.question, a.family, QUICK)
    assert with_runs(gap, a, b, QUICK) == gap
    assert run_variance(a, b).df == 0
    untrained = Arm(b.values, b.question, b.family)
    assert run_variance(a, untrained).share == 1.0
    three, _ = simulated_arms(np.random.default_rng(1), (3, 1), 4.0)
    wide = difference_of_arms(three, untrained, QUICK)
    alone = difference(three.values, b.values, three.question, b.question, three.family, QUICK)
    assert wide.high - wide.low > alone.high - alone.low


def test_the_undoing_sd_undoes():
    gap = Estimate(-10.0, -14.0, -6.0, 40, 0.001)
    a, b = simulated_arms(np.random.default_rng(2), (1, 1), 0.0)
    sd = undoing_sd(gap, run_variance(a, b))
    assert np.sqrt(4.0**2 + (1.96 * sd) ** 2 * 2) == pytest.approx(10.0, rel=1e-3)
    assert np.isnan(undoing_sd(Estimate(-1.0, -5.0, 3.0, 40, 0.6), run_variance(a, b)))
