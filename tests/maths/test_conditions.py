"""Differences of differences: known values, runs kept together, and a null at 5%."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.conditions import conditional_effect
from spillover.maths.estimate import Resampling
from spillover.maths.runs import Arm


def arm(values: list[float], questions: list[str], run: list[int] | None = None) -> Arm:
    return Arm(
        np.array(values, float), np.array(questions), np.array(questions), None if run is None else np.array(run)
    )


def test_known_values_over_shared_questions() -> None:
    plain = arm([80, 60, 40], ["a", "b", "c"], [0, 0, 0]), arm([90, 70], ["a", "b"])
    changed = arm([50, 40, 0], ["a", "b", "c"], [0, 0, 0]), arm([80, 66], ["a", "b"])
    effect = conditional_effect(changed, plain)
    assert effect.estimate == pytest.approx(((-30 + 10) + (-20 + 4)) / 2) and effect.n == 2


def test_other_numbers_of_runs_are_refused() -> None:
    one, two = arm([1.0], ["a"], [0]), arm([1.0, 2.0], ["a", "a"], [0, 1])
    with pytest.raises(ValueError, match="2 runs answered under the condition and 1"):
        conditional_effect((two, one), (one, one))


def rejections(rng: np.random.Generator, runs: int, draws: int, effect: float = 0.0) -> float:
    """Share of p < .05 with 40 questions of 2 answers, question effects that the condition changes at random."""
    hits = 0
    for _ in range(draws):
        arms = []
        for tuned in (True, False):
            level = 60 + 10 * rng.normal(size=40)
            shift = effect * tuned + 5 * rng.normal(size=40)
            count = runs if tuned else 1
            moved = 3 * rng.normal(size=(count, 1)) * tuned + 3 * rng.normal(size=(count, 40))
            run, question, _ = np.indices((count, 40, 2))
            sides = []
            for condition in (0, 1):
                centre = level + condition * (shift + moved)
                values = centre[:, :, None] + 15 * rng.normal(size=run.shape)
                sides.append(
                    Arm(values.ravel(), question.ravel(), question.ravel(), run.ravel() if tuned and runs > 1 else None)
                )
            arms.append(sides)
        changed, plain = (tuple(side[which] for side in arms) for which in (1, 0))
        hits += conditional_effect(changed, plain, Resampling(draws=199)).p < 0.05
    return hits / draws


@pytest.mark.parametrize("runs", [3])
def test_the_null_with_runs(runs: int) -> None:
    assert rejections(np.random.default_rng(runs), runs, 100) <= 0.11


def test_a_planted_effect_is_found() -> None:
    assert rejections(np.random.default_rng(9), 3, 20, -15.0) >= 0.9
