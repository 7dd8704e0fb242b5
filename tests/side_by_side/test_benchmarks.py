"""The benchmark runner: found by name, equal results demanded, ratios the right way round."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.__main__ import main, names
from benchmarks.comparison import HEADER, Comparison, run


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def take(self, seconds: float, result: Any) -> Any:
        self.now += seconds
        return result


def test_a_ratio_above_one_means_that_we_are_faster(capsys: pytest.CaptureFixture[str]) -> None:
    clock, order = Clock(), []

    def side(name: str, seconds: float) -> Any:
        return lambda number: (order.append((name, number)), clock.take(seconds, 7))[1]

    seen = []
    comparison = Comparison(
        "x", side("ours", 2.0), side("theirs", 3.0), lambda a, b: seen.append((a, b)), 5.0, theirs_times=4, clock=clock
    )
    assert run(comparison, 2) == [6.0, 6.0]
    assert order == [("ours", 0), ("theirs", 0), ("ours", 1), ("theirs", 1)]
    assert seen == [(7, 7), (7, 7)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "x,2,12,6,6,6,5"
    assert len(printed[-1].split(",")) == len(HEADER.split(","))
    assert "scaled up" in printed[0]


def test_unequal_results_are_an_error() -> None:
    def check(a: int, b: int) -> None:
        assert a == b, "differ"

    with pytest.raises(AssertionError, match="differ"):
        run(Comparison("x", lambda _: 1, lambda _: 2, check), 1)


def test_benchmarks_are_found_by_name_and_a_wrong_name_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert "prediction" in names()
    assert "comparison" not in names()
    assert main(["predicton"]) == 2
    assert "did you mean prediction?" in capsys.readouterr().out


def test_the_prediction_benchmark_holds_both_sides_to_one_result() -> None:
    import numpy as np

    from benchmarks.prediction import LinearRegression, loop, same
    from spillover.maths.cross_validation import grouped_folds, permuted_scores
    from spillover.maths.regression import Ridge

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    folds, orders = grouped_folds(np.arange(60), 5, 2), np.stack([np.arange(60), rng.permutation(60)])
    ours = permuted_scores(x, y, folds, orders, Ridge((0.0,)))
    for number in range(2):
        same(ours, (number, *loop(x, y[orders[number]], folds, LinearRegression)), 1e-10)
    with pytest.raises(AssertionError, match="R2"):
        same(ours, (0, *loop(x, y[orders[1]], folds, LinearRegression)), 1e-10)
