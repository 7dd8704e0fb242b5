"""Kendall's W: 1 for one order, near 0 for none, and no more false alarms than it may."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.agreement import concordance
from spillover.maths.estimate import Resampling


def test_one_order_ties_and_missing() -> None:
    order = np.tile(np.arange(8.0), (3, 1))
    found = concordance(order)
    assert found.estimate == pytest.approx(1) and found.p < 0.01 and found.n == 8
    holes = order.copy()
    holes[1, 2] = np.nan
    assert concordance(holes).n == 7 and concordance(holes).estimate == pytest.approx(1)
    assert np.isnan(concordance(np.ones((3, 5))).estimate) and np.isnan(concordance(order[:1]).estimate)
    tied = np.array([[1, 1, 2, 3], [1, 2, 2, 3], [1, 1, 1, 4.0]])
    m, n, ties = 3, 4, 6 + 6 + 24
    ranks = np.array([[1.5, 1.5, 3, 4], [1, 2.5, 2.5, 4], [2, 2, 2, 4]]).sum(axis=0)
    expected = 12 * ((ranks - ranks.mean()) ** 2).sum() / (m**2 * (n**3 - n) - m * ties)
    assert concordance(tied).estimate == pytest.approx(expected)


def test_false_alarms_and_power() -> None:
    rng, resampling = np.random.default_rng(0), Resampling(199)
    null = [concordance(rng.normal(size=(3, 20)), resampling).p for _ in range(300)]
    assert 0.01 <= np.mean(np.array(null) <= 0.05) <= 0.1
    common = np.linspace(0, 3, 20)
    assert np.mean([concordance(common + rng.normal(size=(3, 20)), resampling).p <= 0.05 for _ in range(60)]) > 0.9
