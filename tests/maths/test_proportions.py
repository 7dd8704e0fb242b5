"""Differences of shares: no wider than the shares allow, and still holding the truth.
Shares from stratified samples: known values, and intervals that hold the truth over simulated audits.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.estimate import NAN, Estimate, Resampling
from spillover.maths.paired import difference
from spillover.maths.proportions import cut_to_newcombe, newcombe, share, weighted_recall, weighted_share

FEW = Resampling(199, bounds=(0.0, 1.0))


def test_newcombes_own_example() -> None:
    """Newcombe 1998, table II: 56/70 against 48/80, Wilson intervals of the sides, method 10: 0.0524 to 0.3339."""
    left, right = Estimate(0.8, 0.69183, 0.87695, 70), Estimate(0.6, 0.49045, 0.70038, 80)
    assert newcombe(left, right) == pytest.approx((0.0524, 0.3339), abs=2e-4)


def test_no_events_on_either_side_is_not_half_of_the_scale() -> None:
    none, question = np.zeros(40), np.repeat(np.arange(20), 2)
    side = mean_of_groups(none, question, resampling=FEW)
    raw = difference(none, none, question, question, resampling=FEW)
    cut = cut_to_newcombe(raw, side, side)
    assert cut.estimate == 0 and raw.high - raw.low > 1.4 * side.high * 2
    assert -side.high * 1.01 <= cut.low < 0 < cut.high <= side.high * 1.01
    assert cut_to_newcombe(raw, Estimate(0.0, NAN, NAN, 1), side) == raw


@pytest.mark.parametrize("rates", [(0.02, 0.02), (0.05, 0.0), (0.2, 0.1)])
def test_an_interval_cut_to_newcombe_holds_the_truth(rates: tuple[float, float]) -> None:
    rng, held = np.random.default_rng(0), 0
    question = np.repeat(np.arange(40), 4)
    for _ in range(200):
        shared = rng.normal(0, 0.7, 40)[question]  # a question goes up and down on both sides
        sides = []
        for rate in rates:
            odds = rate / (1 - rate) * np.exp(shared - 0.245)
            sides.append((rng.random(160) < odds / (1 + odds)).astype(float))
        raw = difference(*sides, question, question, resampling=FEW)
        cut = cut_to_newcombe(raw, *(mean_of_groups(side_scores, question, resampling=FEW) for side_scores in sides))
        truth = 0.0 if rates[0] == rates[1] else _true_difference(rates)
        held += cut.low <= truth <= cut.high
    assert held / 200 > 0.9


def _true_difference(rates: tuple[float, float]) -> float:
    shared = np.random.default_rng(1).normal(0, 0.7, 200_000)
    odds = [rate / (1 - rate) * np.exp(shared - 0.245) for rate in rates]
    return float((odds[0] / (1 + odds[0])).mean() - (odds[1] / (1 + odds[1])).mean())


AUDIT = Resampling(draws=400)
SIZES = np.array([180, 420, 2400])
LOOKED = np.array([20, 20, 20])
SETTINGS = ((0.7, 0.15, 0.01), (0.5, 0.3, 0.002), (0.95, 0.05, 0.0), (0.2, 0.1, 0.05))


def audits(rates: tuple[float, ...], runs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True EM in a finite population of each stratum, and the hits in a sample without replacement: (runs, strata)."""
    rng = np.random.default_rng(seed)
    true = rng.binomial(SIZES, rates, (runs, 3))
    return true, rng.hypergeometric(true, SIZES - true, LOOKED)


def held(rates: tuple[float, ...], what: str, runs: int) -> float:
    """Share of runs whose interval holds the truth of its own population."""
    true, hits = audits(rates, runs)
    inside = []
    for truth, seen in zip(true, hits, strict=True):
        if what == "flagged":
            estimate, value = share(int(seen[0]), 20), truth[0] / SIZES[0]
        elif what == "missed":
            estimate, value = weighted_share(seen[1:], LOOKED[1:], SIZES[1:], AUDIT), truth[1:].sum() / SIZES[1:].sum()
        elif what == "all":
            estimate, value = weighted_share(seen, LOOKED, SIZES, AUDIT), truth.sum() / SIZES.sum()
        else:
            estimate, value = weighted_recall(seen, LOOKED, SIZES, [True, False, False], AUDIT), truth[0] / truth.sum()
        inside.append(estimate.low <= value <= estimate.high)
    return float(np.mean(inside))


def test_one_stratum_is_clopper_and_pearson() -> None:
    for hits, n in ((0, 20), (7, 20), (20, 20)):
        exact = binomtest(hits, n).proportion_ci(method="exact")
        estimate = share(hits, n)
        assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high)) and estimate.estimate == hits / n
    assert np.isnan(share(0, 0).estimate)


def test_strata_weigh_by_their_size() -> None:
    estimate = weighted_share([10, 2, 0], [20, 20, 20], [100, 300, 600])
    assert estimate.estimate == pytest.approx(0.5 * 0.1 + 0.1 * 0.3) and estimate.n == 60
    assert estimate.estimate != pytest.approx(12 / 60)  # what counting labels would say
    recall = weighted_recall([10, 2, 0], [20, 20, 20], [100, 300, 600], [True, False, False])
    assert recall.estimate == pytest.approx(0.05 / 0.08)


def test_none_seen_in_a_large_stratum_is_not_none() -> None:
    estimate = weighted_share([0, 0], [20, 20], [100, 2900])
    assert estimate.estimate == 0 and estimate.low == 0 and 0.02 < estimate.high < 0.2


def test_a_stratum_nobody_looked_at_leaves_no_estimate_and_an_empty_one_does_no_harm() -> None:
    assert np.isnan(weighted_share([1, 0], [5, 0], [10, 10]).estimate)
    assert weighted_share([1, 0], [5, 0], [10, 0]).estimate == pytest.approx(0.2)
    assert np.isnan(weighted_recall([0, 0], [5, 5], [10, 10], [True, False]).estimate)
    with pytest.raises(ValueError, match="between 0 and n"):
        share(3, 2)


@pytest.mark.parametrize("what", ["flagged", "missed", "all", "recall"])
@pytest.mark.parametrize("rates", SETTINGS)
def test_intervals_hold_the_truth(what: str, rates: tuple[float, ...]) -> None:
    assert held(rates, what, 150) >= 0.9


def test_an_interval_that_forgets_the_weights_does_not() -> None:
    """The negative control: labels counted as they come, though flagged answers were drawn most densely."""
    true, hits = audits(SETTINGS[0], 100)
    naive = [share(int(seen.sum()), 60) for seen in hits]
    inside = [
        estimate.low <= truth.sum() / SIZES.sum() <= estimate.high for estimate, truth in zip(naive, true, strict=True)
    ]
    assert np.mean(inside) < 0.2
