"""Differences of shares: no wider than the shares allow, and still holding the truth."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.estimate import NAN, Estimate, Resampling
from spillover.maths.paired import difference
from spillover.maths.proportions import cut_to_newcombe, newcombe

HOW = Resampling(199, bounds=(0.0, 1.0))


def test_newcombes_own_example() -> None:
    """Newcombe 1998, table II: 56/70 against 48/80, Wilson intervals of the sides, method 10: 0.0524 to 0.3339."""
    left, right = Estimate(0.8, 0.69183, 0.87695, 70), Estimate(0.6, 0.49045, 0.70038, 80)
    assert newcombe(left, right) == pytest.approx((0.0524, 0.3339), abs=2e-4)


def test_no_events_on_either_side_is_not_half_of_the_scale() -> None:
    none, question = np.zeros(40), np.repeat(np.arange(20), 2)
    side = mean_of_groups(none, question, resampling=HOW)
    raw = difference(none, none, question, question, resampling=HOW)
    found = cut_to_newcombe(raw, side, side)
    assert found.estimate == 0 and raw.high - raw.low > 1.4 * side.high * 2
    assert -side.high * 1.01 <= found.low < 0 < found.high <= side.high * 1.01
    assert cut_to_newcombe(raw, Estimate(0.0, NAN, NAN, 1), side) == raw


@pytest.mark.parametrize("rates", [(0.02, 0.02), (0.05, 0.0), (0.2, 0.1)])
def test_it_holds_the_truth(rates: tuple[float, float]) -> None:
    rng, held = np.random.default_rng(0), 0
    question = np.repeat(np.arange(40), 4)
    for _ in range(200):
        shared = rng.normal(0, 0.7, 40)[question]  # a question goes up and down on both sides
        sides = []
        for rate in rates:
            odds = rate / (1 - rate) * np.exp(shared - 0.245)
            sides.append((rng.random(160) < odds / (1 + odds)).astype(float))
        raw = difference(*sides, question, question, resampling=HOW)
        found = cut_to_newcombe(raw, *(mean_of_groups(one, question, resampling=HOW) for one in sides))
        truth = 0.0 if rates[0] == rates[1] else _truth(rates)
        held += found.low <= truth <= found.high
    assert held / 200 > 0.9


def _truth(rates: tuple[float, float]) -> float:
    shared = np.random.default_rng(1).normal(0, 0.7, 200_000)
    odds = [rate / (1 - rate) * np.exp(shared - 0.245) for rate in rates]
    return float((odds[0] / (1 + odds[0])).mean() - (odds[1] / (1 + odds[1])).mean())
