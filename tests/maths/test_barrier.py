"""Barriers: planted ones are found, flat lines are not, and the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.dynamics import barrier
from spillover.maths.estimate import Resampling

SHARE = np.linspace(0, 1, 5)


def lines(seed: int, height: float, rows: int = 40, noise: float = 0.3) -> np.ndarray:
    """Losses of rows that differ much among themselves, on a line that rises by `height` in its middle."""
    rng = np.random.default_rng(seed)
    level = rng.normal(3, 1, rows) + np.outer(SHARE, rng.normal(-0.5, 0.3, rows))
    return level + height * 4 * (SHARE * (1 - SHARE))[:, None] + rng.normal(0, noise, (5, rows))


def test_height_and_place_are_exact_without_noise() -> None:
    found = barrier(SHARE, lines(0, 0.4, noise=0.0))
    assert found.height.estimate == pytest.approx(0.4) and found.share == 0.5
    assert found.excess == pytest.approx(0.4 * 4 * SHARE * (1 - SHARE))
    assert barrier(SHARE, lines(0, 0.4, noise=0.0), clusters=np.arange(40) // 2).height.estimate == pytest.approx(0.4)


def test_false_alarms_power_and_coverage() -> None:
    resampling = Resampling(199)
    flat = np.array([barrier(SHARE, lines(seed, 0.0), resampling=resampling).height.p for seed in range(300)])
    assert (flat <= 0.05).mean() <= 0.09
    high = [barrier(SHARE, lines(seed, 0.4), resampling=resampling).height for seed in range(100)]
    assert np.mean([one.p <= 0.05 for one in high]) > 0.9
    assert np.mean([one.low <= 0.4 <= one.high for one in high]) > 0.85


def test_what_cannot_be_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="0, 1 and a point between"):
        barrier([0, 1], np.zeros((2, 4)))
    with pytest.raises(ValueError, match="a row for each"):
        barrier(SHARE, np.zeros((4, 9)))
    assert np.isnan(barrier(SHARE, np.full((5, 3), np.nan)).height.estimate)
