"""Split-half reliability and the ceiling it sets."""

import math
from typing import Any

import numpy as np
import pytest

from spillover.maths.estimate import Resampling
from spillover.maths.reliability import from_errors, noise_ceiling, split_half


def answers(rng: np.random.Generator, questions: int, samples: int, noise: float) -> Any:
    return rng.normal(size=(questions, 1)) + noise * rng.normal(size=(questions, samples))


@pytest.mark.parametrize("samples,noise", [(8, 2.0), (50, 5.0), (3, 1.0), (2, 1.0)])
def test_it_is_the_share_of_true_variance(samples: int, noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = 1 / (1 + noise**2 / samples)
    values = [split_half(answers(rng, 100, samples, noise), Resampling(draws=99)).value for _ in range(30)]
    assert np.mean(values) == pytest.approx(truth, abs=0.03)


def test_it_agrees_with_the_analysis_of_variance() -> None:
    x = answers(np.random.default_rng(1), 200, 20, 3.0)
    anova = 1 - (x.var(axis=1, ddof=1).mean() / 20) / x.mean(axis=1).var(ddof=1)
    assert split_half(x).value == pytest.approx(anova, abs=0.02)


def test_noise_alone_is_not_reliable_and_no_noise_wholly() -> None:
    rng = np.random.default_rng(2)
    noise = [split_half(rng.normal(size=(60, 10)), Resampling(draws=99)).value for _ in range(30)]
    assert abs(np.mean(noise)) < 0.12
    assert split_half(np.repeat(rng.normal(size=(9, 1)), 6, axis=1)).value == pytest.approx(1)


def test_missing_answers_are_left_out() -> None:
    rng = np.random.default_rng(3)
    full = answers(rng, 150, 8, 1.0)
    padded = np.concatenate([full, np.full((150, 5), np.nan)], axis=1)
    assert split_half(padded).value == pytest.approx(split_half(full).value, abs=0.01)
    holed = np.concatenate([full, np.full((2, 8), np.nan)])
    assert split_half(holed).n == 150
    assert math.isnan(split_half([[1.0, 2], [2.0, 3]]).value)
    assert math.isnan(split_half(np.ones((5, 4))).value)
    assert math.isnan(split_half([[1.0], [2.0], [3.0]]).value)


def test_the_ceiling_is_what_noise_leaves_of_a_perfect_relation() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(4000, 1))
    x, y = truth + rng.normal(size=(4000, 10)) * 2, truth + rng.normal(size=(4000, 5))
    resampling = Resampling(draws=99)
    ceiling = noise_ceiling(split_half(x, resampling).value, split_half(y, resampling).value)
    seen = np.corrcoef(x.mean(axis=1), y.mean(axis=1))[0, 1]
    assert ceiling.r == pytest.approx(seen, abs=0.03)
    assert ceiling.r2 == pytest.approx(ceiling.r**2)


def test_edges_of_the_ceiling() -> None:
    assert noise_ceiling(1, 0.64).r == pytest.approx(0.8)
    assert noise_ceiling(-0.1, 0.9).r == 0
    assert math.isnan(noise_ceiling(math.nan, 0.9).r2)
    with pytest.raises(ValueError, match="at or below 1"):
        noise_ceiling(1.5, 0.9)


def test_same_seed_same_number() -> None:
    x = answers(np.random.default_rng(5), 20, 6, 1.0)
    assert split_half(x) == split_half(x)
    assert split_half(x).value != split_half(x, Resampling(draws=200, seed=1)).value


@pytest.mark.parametrize("samples,noise", [(50, 5.0), (8, 2.0)])
def test_from_errors_is_the_share_of_true_variance_too(samples: int, noise: float) -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        scores = answers(rng, 40, samples, noise)
        values.append(from_errors(scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(samples)).value)
    assert np.mean(values) == pytest.approx(1 / (1 + noise**2 / samples), abs=0.03)


def test_from_errors_of_nothing_but_noise_is_near_zero_and_of_too_little_is_missing() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(2000, 10))
    assert abs(from_errors(scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(10)).value) < 0.1
    assert math.isnan(from_errors([1.0, 2.0], [0.1, 0.1]).value)
    assert math.isnan(from_errors([1.0, 1.0, 1.0], [0.1, 0.1, 0.1]).value)
    with pytest.raises(ValueError, match="alike"):
        from_errors([1.0, 2.0, 3.0], [0.1])
