"""Shares from stratified samples: known values, and intervals that hold the truth over simulated audits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from spillover.maths.estimate import Resampling
from spillover.maths.proportions import share, weighted_recall, weighted_share

HOW = Resampling(draws=400)
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
    found = []
    for truth, seen in zip(true, hits, strict=True):
        if what == "flagged":
            estimate, value = share(int(seen[0]), 20), truth[0] / SIZES[0]
        elif what == "missed":
            estimate, value = weighted_share(seen[1:], LOOKED[1:], SIZES[1:], HOW), truth[1:].sum() / SIZES[1:].sum()
        elif what == "all":
            estimate, value = weighted_share(seen, LOOKED, SIZES, HOW), truth.sum() / SIZES.sum()
        else:
            estimate, value = weighted_recall(seen, LOOKED, SIZES, [True, False, False], HOW), truth[0] / truth.sum()
        found.append(estimate.low <= value <= estimate.high)
    return float(np.mean(found))


def test_one_stratum_is_clopper_and_pearson() -> None:
    for hits, n in ((0, 20), (7, 20), (20, 20)):
        exact = binomtest(hits, n).proportion_ci(method="exact")
        found = share(hits, n)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high)) and found.estimate == hits / n
    assert np.isnan(share(0, 0).estimate)


def test_strata_weigh_by_their_size() -> None:
    found = weighted_share([10, 2, 0], [20, 20, 20], [100, 300, 600])
    assert found.estimate == pytest.approx(0.5 * 0.1 + 0.1 * 0.3) and found.n == 60
    assert found.estimate != pytest.approx(12 / 60)  # what counting labels would say
    recall = weighted_recall([10, 2, 0], [20, 20, 20], [100, 300, 600], [True, False, False])
    assert recall.estimate == pytest.approx(0.05 / 0.08)


def test_none_seen_in_a_large_stratum_is_not_none() -> None:
    found = weighted_share([0, 0], [20, 20], [100, 2900])
    assert found.estimate == 0 and found.low == 0 and 0.02 < found.high < 0.2


def test_a_stratum_nobody_looked_at_leaves_no_estimate_and_an_empty_one_does_no_harm() -> None:
    assert np.isnan(weighted_share([1, 0], [5, 0], [10, 10]).estimate)
    assert weighted_share([1, 0], [5, 0], [10, 0]).estimate == pytest.approx(0.2)
    assert np.isnan(weighted_recall([0, 0], [5, 5], [10, 10], [True, False]).estimate)
    with pytest.raises(ValueError, match="between 0 and n"):
        share(3, 2)


@pytest.mark.parametrize("what", ["flagged", "missed", "all", "found"])
@pytest.mark.parametrize("rates", SETTINGS)
def test_intervals_hold_the_truth(what: str, rates: tuple[float, ...]) -> None:
    assert held(rates, what, 150) >= 0.9


def test_an_interval_that_forgets_the_weights_does_not() -> None:
    """The negative control: labels counted as they come, though flagged answers were drawn most densely."""
    true, hits = audits(SETTINGS[0], 100)
    naive = [share(int(seen.sum()), 60) for seen in hits]
    inside = [one.low <= truth.sum() / SIZES.sum() <= one.high for one, truth in zip(naive, true, strict=True)]
    assert np.mean(inside) < 0.2
