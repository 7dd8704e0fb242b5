"""Onset and convergence: known values, a planted onset, and no onset in 95% where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.convergence import first_departure, gain_over_steps
from spillover.maths.estimate import Resampling


def test_known_values() -> None:
    steps = [0, 10, 20, 40]
    values = np.array([[90.0, 80], [60, 50], [30, 20], [10, 0]])
    gain = gain_over_steps(steps, values, resampling=Resampling(draws=199))
    assert gain.total.estimate == -80
    assert [made.estimate for made in gain.made] == pytest.approx([0, 30 / 80, 60 / 80, 1])
    assert gain.converged.estimate == pytest.approx(20 + 20 * (0.95 - 0.75) / 0.25)
    half = gain_over_steps(steps, values, share=0.5, resampling=Resampling(draws=199))
    assert half.converged.estimate == pytest.approx(10 + 10 * (0.5 - 0.375) / 0.375)


def test_nothing_learnt_is_missing_and_not_0() -> None:
    flat = gain_over_steps([0, 1, 2], np.full((3, 4), 50.0))
    assert np.isnan(flat.converged.estimate) and np.isnan(flat.made[1].estimate) and flat.total.estimate == 0
    empty = gain_over_steps([0, 1], np.full((2, 3), np.nan))
    assert np.isnan(empty.total.estimate) and empty.total.n == 0
    with pytest.raises(ValueError, match="rising steps"):
        gain_over_steps([0, 0], np.zeros((2, 3)))


def answers(rng: np.random.Generator, rates: list[float], questions: int = 40, samples: int = 4) -> np.ndarray:
    """Changes of each question's EM share from the base (1%), at steps whose rates rise by `rates`; families differ."""
    tilt = rng.gamma(0.5, 2.0, size=questions)
    base = rng.binomial(samples, np.minimum(0.01 * tilt, 1)) / samples
    own = [rng.binomial(samples, np.minimum((0.01 + rate) * tilt, 1.0)) / samples for rate in rates]
    return np.array(own) - base


def test_a_planted_onset_is_found_at_its_step() -> None:
    rng = np.random.default_rng(1)
    found = [first_departure(answers(rng, [0, 0, 0.3, 0.4])).index for _ in range(40)]
    assert np.mean(np.array(found) == 2) > 0.85


@pytest.mark.parametrize("rate", [0.1])
def test_no_more_than_5_percent_see_an_onset_that_is_not_there(rate: float) -> None:
    rng = np.random.default_rng(2)
    called = uncorrected = 0
    for _ in range(120):
        tilt = rng.gamma(0.5, 2.0, size=40)
        draws = rng.binomial(4, np.minimum((0.02 + rate) * tilt, 1.0), size=(9, 40)) / 4
        changes = draws[1:] - draws[0]
        called += first_departure(changes, resampling=Resampling(draws=199)).index >= 0
        uncorrected += any(
            first_departure(changes[step : step + 1], resampling=Resampling(draws=199)).index >= 0 for step in range(8)
        )
    assert called / 120 <= 0.1 and uncorrected > called  # a look at each step alone is the negative control


def test_families_change_sides_as_one() -> None:
    changes = np.ones((2, 12))
    assert first_departure(changes, np.repeat(["a", "b"], 6)).index == -1  # two families cannot tell
    assert first_departure(changes, np.arange(12)).index == 0
    assert first_departure(np.zeros((2, 12))).p.tolist() == [1.0, 1.0]
