"""EM@k: known values, unbiased over draws, equal to the rate at k = 1, and intervals that hold the truth."""

from itertools import combinations

import numpy as np
import pytest

from spillover.maths.em_at_k import at_least_one, em_at_k, prompt_chances, usable_k
from spillover.maths.estimate import Resampling

NAN = float("nan")


def test_known_values() -> None:
    assert at_least_one([4, 4, 4, 4, 5], [0, 1, 2, 4, 1], 2) == pytest.approx([0, 1 / 2, 5 / 6, 1, 2 / 5])
    assert at_least_one([8, 8], [1, 3], 1) == pytest.approx([1 / 8, 3 / 8])  # at k = 1 the rate itself
    assert np.isnan(at_least_one([2, 0], [1, 0], 3)).all()  # too few answers: missing, not 0


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_it_is_the_share_of_choices_that_hold_an_em_answer(k: int) -> None:
    answers = [1, 0, 0, 1, 0, 0, 0]
    share = np.mean([max(chosen) for chosen in combinations(answers, k)])
    assert at_least_one([7], [2], k)[0] == pytest.approx(share)


def test_it_is_unbiased_for_the_chance_of_at_least_one() -> None:
    rng = np.random.default_rng(0)
    m = rng.binomial(6, 0.15, size=200_000)
    assert at_least_one(np.full(m.shape, 6), m, 3).mean() == pytest.approx(1 - 0.85**3, abs=0.003)
    naive = 1 - (1 - m / 6) ** 3  # the plug-in is not: the negative control
    assert abs(naive.mean() - (1 - 0.85**3)) > 0.01


def test_unscored_answers_are_in_no_count_and_runs_are_kept_apart() -> None:
    em = [1, 0, NAN, 0, 0, 0]
    chances = prompt_chances(em, ["p"] * 6, ["q"] * 6, ["f"] * 6, 2, run=[0, 0, 0, 1, 1, 1])
    assert chances.chance.tolist() == [1.0, 0.0] and chances.run is not None and chances.run.tolist() == [0, 1]
    pooled = em_at_k(em, ["p"] * 6, ["q"] * 6, ["f"] * 6, 2)
    assert pooled.estimate == pytest.approx(2 / 5) and pooled.n == 1


def test_k_goes_as_far_as_the_answers_do() -> None:
    assert usable_k([0.0] * 12, np.repeat(["a", "b", "c"], 4)) == [2, 4]
    assert usable_k([0.0, NAN] * 3, np.repeat(["a", "b", "c"], 2)) == []
    with pytest.raises(ValueError, match="at least 1"):
        at_least_one([3], [1], 0)
    with pytest.raises(ValueError, match="between 0 and n"):
        at_least_one([3], [4], 2)


@pytest.mark.parametrize(("a", "b"), [(0.3, 3.0), (1.0, 6.0)])
def test_intervals_over_families_hold_the_truth(a: float, b: float) -> None:
    rng = np.random.default_rng(1)
    questions, answers, k, draws = 40, 8, 4, 200
    truth = 1 - np.prod([(b + j) / (a + b + j) for j in range(k)])  # mean of (1 - p)^k over Beta(a, b)
    held = 0
    names = np.repeat(np.arange(questions), answers)
    for _ in range(draws):
        em = (rng.random((questions, answers)) < rng.beta(a, b, size=(questions, 1))).ravel().astype(float)
        estimate = em_at_k(em, names, names, names, k, Resampling(draws=399))
        held += estimate.low <= truth <= estimate.high
    assert 0.92 <= held / draws <= 0.99
