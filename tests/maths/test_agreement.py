"""AUC and kappa: textbook values, scikit-learn as oracle, and intervals that hold the truth when clusters vary.
Kendall's W: 1 for one order, near 0 for none, and no more false alarms than it may.
"""

from __future__ import annotations

import numpy as np
import pytest

from spillover.maths.agreement import auc, concordance, kappa
from spillover.maths.estimate import Resampling


def judged(rng: np.random.Generator, questions: int, answers: int = 8) -> tuple[np.ndarray, ...]:
    """Two judges' scores of the same answers: both see the question's level and the answer, with noise of their own."""
    level = np.repeat(rng.normal(45, 18, questions), answers)
    answer = level + rng.normal(0, 15, questions * answers)
    lean = np.repeat(rng.normal(0, 6, questions), answers)  # on one question one judge is stricter
    first, second = answer + rng.normal(0, 8, len(answer)), answer + lean + rng.normal(0, 12, len(answer))
    return first, second, np.repeat(np.arange(questions), answers)


def coverage(statistic: str, questions: int, runs: int) -> float:
    """Share of 95% intervals that hold the value in a large population of questions; none counts as a miss."""

    def measure(first: np.ndarray, second: np.ndarray, question: np.ndarray) -> object:
        low = (first < 30).astype(float)
        if statistic == "auc":
            return auc(second, low, question)
        return kappa((second < 30).astype(float), low, question)

    truth = measure(*judged(np.random.default_rng(0), 20_000)).estimate
    estimates = [measure(*judged(np.random.default_rng([1, run]), questions)) for run in range(runs)]
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]))


def test_auc_is_sklearns_whatever_the_ties() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    score, positive = rng.integers(0, 12, 200).astype(float), (rng.random(200) < 0.3).astype(float)
    assert auc(score, positive).estimate == pytest.approx(roc_auc_score(positive, -score), abs=1e-12)
    assert auc([1, 2, 3, 4], [1, 1, 0, 0]).estimate == 1 and auc([3, 4, 1, 2], [1, 1, 0, 0]).estimate == 0
    assert auc([5, 5, 5, 5], [1, 1, 0, 0]).estimate == 0.5


def test_kappa_is_sklearns() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    a = (rng.random(300) < 0.3).astype(float)
    b = np.where(rng.random(300) < 0.8, a, 1 - a)
    assert kappa(a, b).estimate == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)


def test_leaving_out_a_cluster_is_what_it_says() -> None:
    rng = np.random.default_rng(3)
    first, second, question = judged(rng, 6)
    low = (first < 45).astype(float)
    for measure, score in ((auc, second), (kappa, (second < 45).astype(float))):
        once = measure(score, low, question)
        z = np.array([np.arctanh(_scale(measure, score[question != q], low[question != q])) for q in range(6)])
        error = np.sqrt(5 / 6 * ((z - z.mean()) ** 2).sum())
        reach = 2.7764451 * error  # t, 4 degrees of freedom
        ends = np.tanh(np.arctanh(_scale(measure, score, low)) + np.array([-reach, reach]))
        ends = (ends + 1) / 2 if measure is auc else ends
        np.testing.assert_allclose([once.low, once.high], ends, atol=1e-6)


def _scale(measure: object, score: np.ndarray, flag: np.ndarray) -> float:
    value = measure(score, flag).estimate
    return 2 * value - 1 if measure is auc else value


def test_missing_rows_are_left_out_and_counted() -> None:
    nan = float("nan")
    estimate = auc([1, 2, nan, 4, 3], [1, 1, 1, 0, nan])
    assert (estimate.estimate, estimate.n) == (1.0, 3)
    assert kappa([1, 0, nan, 1], [1, 0, 1, nan]).n == 2


@pytest.mark.parametrize("flags", [[0, 0, 0], [1, 1, 1]])
def test_without_both_kinds_there_is_nothing_to_tell(flags: list[int]) -> None:
    assert np.isnan(auc([1, 2, 3], flags).estimate) and np.isnan(kappa(flags, flags).estimate)
    assert auc([1, 2, 3], flags).n == 3


def test_a_value_that_hangs_on_one_cluster_has_no_interval() -> None:
    estimate = auc([1, 2, 3, 4, 5, 6, 7, 8], [1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    assert estimate.estimate == 1 and np.isnan(estimate.low)


def test_what_is_no_flag_is_refused() -> None:
    with pytest.raises(ValueError, match="flags are 1, 0 or NaN"):
        kappa([0.5, 1], [1, 0])


@pytest.mark.parametrize("statistic", ["auc", "kappa"])
def test_intervals_hold_the_truth(statistic: str) -> None:
    assert coverage(statistic, questions=24, runs=80) >= 0.88


def test_intervals_that_forget_the_questions_do_not() -> None:
    """The negative control: answers taken one by one give intervals that are too narrow."""
    wide, narrow = [], []
    for run in range(20):
        first, second, question = judged(np.random.default_rng([2, run]), 24)
        low = (first < 30).astype(float)
        for clusters, widths in ((question, wide), (None, narrow)):
            estimate = kappa((second < 30).astype(float), low, clusters)
            widths.append(estimate.high - estimate.low)
    assert np.mean(narrow) < 0.85 * np.mean(wide)


def test_concordance_of_one_order_ties_and_missing() -> None:
    order = np.tile(np.arange(8.0), (3, 1))
    w = concordance(order)
    assert w.estimate == pytest.approx(1) and w.p < 0.01 and w.n == 8
    holes = order.copy()
    holes[1, 2] = np.nan
    assert concordance(holes).n == 7 and concordance(holes).estimate == pytest.approx(1)
    assert np.isnan(concordance(np.ones((3, 5))).estimate) and np.isnan(concordance(order[:1]).estimate)
    tied = np.array([[1, 1, 2, 3], [1, 2, 2, 3], [1, 1, 1, 4.0]])
    m, n, ties = 3, 4, 6 + 6 + 24
    ranks = np.array([[1.5, 1.5, 3, 4], [1, 2.5, 2.5, 4], [2, 2, 2, 4]]).sum(axis=0)
    expected = 12 * ((ranks - ranks.mean()) ** 2).sum() / (m**2 * (n**3 - n) - m * ties)
    assert concordance(tied).estimate == pytest.approx(expected)


def test_concordance_false_alarms_and_power() -> None:
    rng, resampling = np.random.default_rng(0), Resampling(199)
    null = [concordance(rng.normal(size=(3, 20)), resampling).p for _ in range(300)]
    assert 0.01 <= np.mean(np.array(null) <= 0.05) <= 0.1
    common = np.linspace(0, 3, 20)
    assert np.mean([concordance(common + rng.normal(size=(3, 20)), resampling).p <= 0.05 for _ in range(60)]) > 0.9
