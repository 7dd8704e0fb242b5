"""What the paper reports of its 35 schedule runs, from its own numbers."""

import numpy as np
import pytest

from spillover.maths.correlation import log_pearson
from spillover.maths.dynamics import max_diff

from .published_runs import RUNS

TRAIN, HELD_OUT, HARMLESS, ALIGNED = np.array(RUNS).T


@pytest.mark.parametrize(
    "loss,score,r,gain",
    [
        (TRAIN, HARMLESS, 0.828640442625964, 17.041666666666664),
        (TRAIN, ALIGNED, 0.8340959625642432, 16.05583333333334),
        (HELD_OUT, HARMLESS, 0.8239990191752472, 18.625000000000007),
        (HELD_OUT, ALIGNED, 0.8291332948483331, 18.82333333333333),
    ],
)
def test_published_correlations_and_max_diffs(loss: np.ndarray, score: np.ndarray, r: float, gain: float) -> None:
    est = log_pearson(loss, score)
    assert est.estimate == pytest.approx(r, abs=1e-12)
    assert est.low < r < est.high and (est.p or 1) < 0.001
    largest = max_diff(loss, score)
    assert largest.value == pytest.approx(gain, abs=1e-12)
    assert loss[largest.better] <= loss[largest.worse]
    assert score[largest.better] - score[largest.worse] == pytest.approx(gain, abs=1e-12)


def test_the_published_gain_is_beyond_the_answers_noise() -> None:
    """1,200 answers a run with SD near 28: standard error 0.8. Many runs alone explain about 2, not 17."""
    largest = max_diff(TRAIN, HARMLESS, np.full(35, 0.8))
    assert (largest.p or 1) < 0.001
    assert 1 < (largest.expected or 0) < 5
