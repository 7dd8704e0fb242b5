"""Correlation over runs when questions are a sample too."""

import math
from typing import Any

import numpy as np
import pytest

from spillover.maths.correlation import correlation_over_runs, log_pearson
from spillover.maths.estimate import Resampling

QUICK = Resampling(draws=99)


def study(rng: np.random.Generator, runs: int, questions: int, slopes: float) -> tuple[Any, Any]:
    x = rng.normal(size=runs)
    y = x[:, None] + 0.5 * rng.normal(size=(runs, 1)) + 5 * rng.normal(size=questions)
    return x, y + slopes * rng.normal(size=questions) * x[:, None] + rng.normal(size=(runs, questions))


def test_value_is_log_pearson_of_the_means() -> None:
    rng = np.random.default_rng(0)
    x, y = study(rng, 12, 24, 1.0)
    found = correlation_over_runs(np.exp(x), y)
    plain = log_pearson(np.exp(x), y.mean(axis=1))
    assert found.both.estimate == pytest.approx(plain.estimate)
    assert found.runs.low == pytest.approx(plain.low)
    assert found.runs.p == plain.p
    assert (found.both.n, found.n_questions) == (12, 24)


@pytest.mark.parametrize("runs,questions", [(12, 24), (35, 24), (35, 8)])
def test_both_covers_where_runs_alone_does_not(runs: int, questions: int) -> None:
    rng = np.random.default_rng(1)
    slopes = 1.5
    truth = 1 / math.hypot(1, math.hypot(0.5, 1 / math.sqrt(questions)))
    both = alone = 0
    for _ in range(300):
        x, y = study(rng, runs, questions, slopes)
        found = correlation_over_runs(x, y, log=False, resampling=QUICK)
        both += found.both.low <= truth <= found.both.high
        alone += found.runs.low <= truth <= found.runs.high
    assert both / 300 >= 0.92
    assert alone / 300 < both / 300


def test_runs_and_questions_that_lack_scores() -> None:
    rng = np.random.default_rng(2)
    x, y = study(rng, 10, 12, 0.5)
    holed = y.copy()
    holed[0] = np.nan
    holed[3, 5] = np.nan
    found = correlation_over_runs(x, holed, log=False)
    clean = correlation_over_runs(x[1:], np.delete(y[1:], 5, axis=1), log=False)
    assert found == clean
    nothing = correlation_over_runs(x, np.full((10, 3), np.nan), log=False)
    assert math.isnan(nothing.both.estimate) and nothing.n_questions == 0


def test_families_of_questions_count_as_one() -> None:
    rng = np.random.default_rng(3)
    x, y = study(rng, 20, 8, 2.0)
    copies = np.repeat(y, 4, axis=1)
    family = np.repeat(np.arange(8), 4)
    once, fooled = correlation_over_runs(x, y, log=False), correlation_over_runs(x, copies, log=False)
    honest = correlation_over_runs(x, copies, family, log=False)
    assert honest.questions.high - honest.questions.low == pytest.approx(once.questions.high - once.questions.low)
    assert fooled.questions.high - fooled.questions.low < 0.8 * (once.questions.high - once.questions.low)


def test_wrong_input_says_so() -> None:
    with pytest.raises(ValueError, match="transpose"):
        correlation_over_runs([1.0, 2], np.ones((3, 2)))
    with pytest.raises(ValueError, match="log=False"):
        correlation_over_runs([-1.0, 2], np.ones((2, 2)))
