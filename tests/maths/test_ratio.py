"""Fieller's interval: known values, no bound where the denominator is not told from 0, and coverage over runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from spillover.maths.estimate import Resampling
from spillover.maths.ratio import fieller, ratio_of_differences
from spillover.maths.runs import Arm

FEW = Resampling(draws=199)


def test_its_ends_are_where_the_contrast_is_just_told_from_0() -> None:
    covariance = np.array([[4.0, 0.5], [0.5, 1.0]])
    low, high, shape = fieller(-10.0, -20.0, covariance, 30)
    assert shape == "interval" and low < 0.5 < high
    for theta in (low, high):
        variance = covariance[0, 0] - 2 * theta * covariance[0, 1] + theta**2 * covariance[1, 1]
        assert abs(-10 + 20 * theta) / np.sqrt(variance) == pytest.approx(t.ppf(0.975, 30))


def test_with_an_exact_denominator_it_is_students_interval() -> None:
    low, high, _ = fieller(6.0, 3.0, np.array([[1.0, 0.0], [0.0, 0.0]]), 12)
    assert (low, high) == pytest.approx((2 - t.ppf(0.975, 12) / 3, 2 + t.ppf(0.975, 12) / 3))


@pytest.mark.parametrize(("top", "shape"), [(9.0, "outside"), (0.5, "everything")])
def test_there_is_no_end_where_the_denominator_may_be_0(top: float, shape: str) -> None:
    low, high, kind = fieller(top, 0.4, np.eye(2), 50)
    assert (low, high) == (-np.inf, np.inf) and kind == shape


def arms(
    rng: np.random.Generator, drop: float, runs: int, moved: np.ndarray, questions: int, noise: float = 15.0
) -> tuple[Arm, Arm]:
    """Bad and good answers to `questions`; bad lies `drop` below, and each run's mean is moved by `moved` points."""
    level, own = 60 + 10 * rng.normal(size=questions), 5 * rng.normal(size=questions)
    made = []
    for side in (0, 1):
        run, question, _ = np.indices((runs, questions, 4))
        centre = level + (drop + own if side == 0 else 0.0) + (moved if side == 0 else 0 * moved)[:, None]
        values = centre[:, :, None] + noise * rng.normal(size=run.shape)
        made.append(Arm(values.ravel(), question.ravel(), question.ravel(), run.ravel()))
    return made[0], made[1]


def test_a_planted_ratio_comes_back_and_families_alone_agree_with_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    result = ratio_of_differences(
        arms(rng, -40, 1, np.zeros(1), 60), arms(rng, -16, 1, np.zeros(1), 60), Resampling(draws=999)
    )
    assert result.ratio.estimate == pytest.approx(0.4, abs=0.06) and result.shape == "interval"
    assert result.ratio.low < 0.4 < result.ratio.high
    assert result.bootstrap.low == pytest.approx(result.ratio.low, abs=0.03)
    assert result.bootstrap.high == pytest.approx(result.ratio.high, abs=0.03)
    assert result.narrow.estimate == pytest.approx(-40, abs=4) and result.broad.p is not None


def test_nothing_learnt_sets_no_bound() -> None:
    rng = np.random.default_rng(4)
    result = ratio_of_differences(arms(rng, 0, 1, np.zeros(1), 20), arms(rng, -16, 1, np.zeros(1), 40), FEW)
    assert result.shape != "interval" and np.isinf(result.ratio.high)


def test_sides_that_hold_other_runs_are_refused() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="2 runs on the broad side and 1"):
        ratio_of_differences(arms(rng, -9, 1, np.zeros(1), 9), arms(rng, -9, 2, np.zeros(2), 9), FEW)


def coverage(rng: np.random.Generator, runs: int, spread: float, broad_drop: float, draws: int = 120) -> float:
    held = 0
    for _ in range(draws):
        shared = spread * rng.normal(size=runs)  # a run that learns more leaks more
        narrow = arms(rng, -40, runs, shared, 24)
        result = ratio_of_differences(narrow, arms(rng, broad_drop, runs, 0.5 * shared, 40), Resampling(draws=99))
        held += result.ratio.low <= broad_drop / -40 <= result.ratio.high
    return held / draws


@pytest.mark.parametrize(
    ("runs", "spread", "broad_drop"), [(1, 0.0, -16.0), (1, 0.0, 0.0), (3, 4.0, -16.0), (5, 4.0, 0.0)]
)
def test_coverage(runs: int, spread: float, broad_drop: float) -> None:
    """95% intervals hold the planted ratio, and a ratio of 0 (nothing leaks) is told from 0 in about 5%."""
    assert 0.9 <= coverage(np.random.default_rng(runs), runs, spread, broad_drop) <= 0.995
