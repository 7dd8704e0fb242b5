"""False alarms on unseen sound runs stay near what was asked, also where a run's value is a maximum over its steps."""

import numpy as np
import pytest

from spillover.maths.alarm import alarm_limit


def false_alarm_share(runs: int, directions: int, walk: bool, draws: int = 3000) -> float:
    """Share of new sound runs that pass the limit of any of the directions, made from `runs` others."""
    rng = np.random.default_rng(runs * 10 + directions)
    passed = 0
    for _ in range(draws):
        steps = rng.normal(size=(runs + 1, directions, 8))
        values = steps.cumsum(axis=2).max(axis=2) if walk else steps[:, :, 0]
        limits = [alarm_limit(values[:-1, d], watched=directions) for d in range(directions)]
        passed += bool((values[-1] > limits).any())
    return passed / draws


@pytest.mark.parametrize("runs", [2, 3, 6])
@pytest.mark.parametrize("directions", [1, 4])
def test_false_alarms_of_normal_values_are_as_asked(runs, directions) -> None:
    assert 0.03 < false_alarm_share(runs, directions, walk=False, draws=1000) < 0.07


@pytest.mark.parametrize("runs", [3, 6])
def test_false_alarms_of_maxima_over_steps_stay_below_a_tenth(runs) -> None:
    """Maxima of walks are skewed: some 7 to 8% where 5% were asked (2,000 draws), which the docstring says."""
    assert 0.03 < false_alarm_share(runs, 2, walk=True, draws=1000) < 0.1


def test_a_planted_drift_is_seen() -> None:
    rng = np.random.default_rng(0)
    limit = alarm_limit(rng.normal(size=6), watched=7)
    assert rng.normal(8, 1, 200).min() > limit or (rng.normal(8, 1, 200) > limit).mean() > 0.9


def test_one_control_sets_no_limit() -> None:
    assert np.isnan(alarm_limit([1.0]))
    with pytest.raises(ValueError, match="false_alarms"):
        alarm_limit([1.0, 2.0], 0.0)
