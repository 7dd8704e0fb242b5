"""Onset: a planted step is found where it is, a straight line at its middle, and noise says that it knows little."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.dynamics import half_changes, onset
from spillover.maths.estimate import Resampling

STEPS = np.array([0, 10, 20, 30, 40, 50])


def scores(curve: np.ndarray, seed: int, noise: float = 5.0, questions: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return curve[:, None] + rng.normal(0, 10, questions) + rng.normal(0, noise, (len(curve), questions))


def test_a_sharp_change_is_found_and_a_straight_line_is_halfway() -> None:
    sharp = onset(STEPS, scores(np.array([80, 80, 80, 60, 60, 60.0]), 0))
    assert sharp.change.estimate == 25 and sharp.change.low == sharp.change.high == 25 and sharp.support[2] == 1
    assert 20 < sharp.half.low <= sharp.half.high < 30
    line = onset(STEPS, scores(np.linspace(80, 55, 6), 1))
    assert line.half.estimate == pytest.approx(25, abs=5)


def test_noise_alone_has_no_place() -> None:
    found = onset(STEPS, scores(np.full(6, 70.0), 3, noise=20))
    assert found.support.max() < 0.95 and found.support.sum() == pytest.approx(1)
    assert found.change.high > found.change.low


def test_the_interval_holds_the_truth() -> None:
    curve = 80 - 20 / (1 + np.exp(-(STEPS - 27) / 6.0))
    start, end = curve[0], curve[-1]
    truth = np.interp((start + end) / 2, curve[::-1], STEPS[::-1])
    held = 0
    for seed in range(120):
        half = onset(STEPS, scores(curve, seed), resampling=Resampling(199)).half
        held += half.low <= truth <= half.high
    assert held / 120 > 0.87


def test_each_question_and_odd_input() -> None:
    values = np.array([[10, 10.0, np.nan], [10, 5, 3], [0, 0, 2]])
    found = half_changes([0, 4, 8], values)
    assert found[:2].tolist() == [6, 4] and np.isnan(found[2])
    assert np.isnan(half_changes([0, 1], np.ones((2, 1)))).all()
    with pytest.raises(ValueError, match="rising steps"):
        onset([0, 5, 5], np.zeros((3, 2)))
