"""Two-phase judging: exact where it must be, unbiased over samples; `scripts/calibration.py two-phase` has the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spillover.maths.estimate import NAN, Estimate
from spillover.maths.probability_sample import best_share, draw_in_order, key_uniforms, stratified_sample
from spillover.maths.two_phase import mean_ratio, pseudo_values, within_scale
from spillover.maths.two_phase_questions import question_predictions

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import calibration
import calibration_two_phase


def test_the_draw_holds_its_probabilities_and_its_size() -> None:
    inclusion = np.array([0.5, 0.2, 1.0, 0.3, 0.0, 0.6, 0.4])  # sum 3
    rng, times = np.random.default_rng(0), np.zeros(7)
    for _ in range(4000):
        drawn = draw_in_order(inclusion, np.arange(7), rng.random(8))
        assert drawn.sum() == 3
        times += drawn
    assert times / 4000 == pytest.approx(inclusion, abs=0.04)


def test_any_stretch_of_the_order_holds_its_part() -> None:
    order = np.random.default_rng(1).permutation(60)
    for seed in range(20):
        drawn = draw_in_order(np.full(60, 0.2), order, key_uniforms([str(n) for n in range(61)], seed))[order]
        assert all(1 <= drawn[start : start + 10].sum() <= 3 for start in range(0, 60, 10))


def test_ties_of_the_score_change_no_probability() -> None:
    score = np.array([0.0] * 5 + [1.0] * 2 + [2.0, 3.0, 4.0])
    times = np.zeros(10)
    for seed in range(3000):
        keys = [f"{number}" for number in range(10)]
        times += stratified_sample(["q"] * 10, score, 0.3, keys, np.ones(10, dtype=bool), seed).drawn
    assert times / 3000 == pytest.approx(np.full(10, 0.3), abs=5 * np.sqrt(0.21 / 3000))


def test_a_question_that_is_sure_of_an_answer_has_one_and_its_probability_says_so() -> None:
    question = np.repeat([f"q{n}" for n in range(6)], 25)
    score = np.random.default_rng(2).random(150)
    sample = stratified_sample(question, score, 0.06, [str(n) for n in range(150)], np.ones(150, dtype=bool))
    counts = np.array([sample.drawn[question == name].sum() for name in np.unique(question)])
    assert set(counts) == {1, 2} and counts.sum() == 9
    assert sample.inclusion == pytest.approx(np.repeat(counts / 25, 25))


def test_all_judged_twice_gives_the_dear_scores_back() -> None:
    rng = np.random.default_rng(3)
    y, x = rng.random(40) * 100, rng.random((40, 1)) * 100
    phases = pseudo_values(x, y, np.ones(40), np.ones(40, dtype=bool), np.arange(40) // 4)
    assert phases.values == pytest.approx(y)


def test_a_cheap_judge_that_is_right_up_to_scale_leaves_nothing_open() -> None:
    rng = np.random.default_rng(4)
    y = rng.random(60) * 100
    drawn = np.arange(60) % 4 == 0
    phases = pseudo_values((10 + y / 3)[:, None], np.where(drawn, y, NAN), np.full(60, 0.25), drawn, np.arange(60) // 5)
    assert phases.values == pytest.approx(y) and phases.weights == pytest.approx([3])


@pytest.mark.parametrize("bad_cheap", [False, True])
def test_means_are_unbiased_over_samples_whatever_the_cheap_judge_says(bad_cheap: bool) -> None:
    rng = np.random.default_rng(5)
    question, n = np.repeat(np.arange(12), 10), 120
    y = np.clip(60 + 20 * rng.normal(size=12)[question] + 15 * rng.normal(size=n), 0, 100)
    x = rng.random(n) * 30 if bad_cheap else np.clip(y / 2 - 10 + 8 * rng.normal(size=n), 0, 100)
    means = []
    for seed in range(400):
        sample = stratified_sample(
            question.astype(str), x, 0.2, [str(k) for k in range(n)], np.ones(n, dtype=bool), seed
        )
        phases = pseudo_values(x[:, None], np.where(sample.drawn, y, NAN), sample.inclusion, sample.drawn, question)
        means.append(phases.values.mean())
    spread = np.std(means)
    assert abs(np.mean(means) - y.mean()) < 4 * spread / 20
    assert spread < (1.1 if bad_cheap else 0.7) * y.std() * np.sqrt(0.8 / 24)  # of a simple sample's mean
    assert abs(x.mean() - y.mean()) > 5 * spread  # the cheap judge alone is far off


def test_drawn_answers_without_a_score_are_taken_as_a_random_part() -> None:
    y = np.full(100, 70.0)
    drawn = np.arange(100) % 2 == 0
    lost = np.where(drawn & (np.arange(100) % 4 == 0), NAN, np.where(drawn, y, NAN))
    phases = pseudo_values(np.zeros((100, 1)), lost, np.full(100, 0.5), drawn, np.arange(100) // 5)
    assert phases.values.mean() == pytest.approx(70) and phases.labelled == 25
    assert np.isnan(
        pseudo_values(np.zeros((4, 1)), np.full(4, NAN), np.ones(4), np.ones(4, bool), np.arange(4)).values
    ).all()
    with pytest.raises(ValueError, match="inclusion"):
        pseudo_values(np.zeros((2, 1)), np.zeros(2), np.array([0.0, 1.0]), np.ones(2, bool), np.arange(2))


def test_a_rate_past_the_scale_is_brought_onto_it_and_stays_uncertain() -> None:
    rate = within_scale(Estimate(-0.02, NAN, NAN, 50), (0.0, 1.0), 24)
    assert rate.estimate == 0 and rate.low == 0 and 0.1 < rate.high < 0.2
    ratio = mean_ratio(np.array([1.0, 0, 0, 1]), np.array([1.0, 1, 1, -0.5]), np.arange(4))
    assert ratio.estimate == pytest.approx(2 / 2.5)


def test_predictions_of_questions_trust_dear_scores_as_far_as_questions_differ() -> None:
    rng = np.random.default_rng(6)
    question = np.repeat(np.arange(40), 10)
    errors = []
    for own in (0.0, 15.0):
        y = np.clip(55 + own * rng.normal(size=40)[question] + 5 * rng.normal(size=400), 0, 100)
        drawn = np.tile(np.arange(10) % 5 == 0, 40)
        phases = pseudo_values(np.zeros((400, 1)), np.where(drawn, y, NAN), np.full(400, 0.2), drawn, question)
        names = [str(n) for n in range(40)]
        single = question_predictions(phases, np.where(drawn, y, NAN), np.full(400, 0.2), question, names)
        truth = y.reshape(40, 10).mean(axis=1)
        errors.append(np.sqrt(np.mean((single.means - truth) ** 2)))
        inside = np.abs(single.means - truth) < 1.96 * single.errors
        assert inside.mean() > 0.8 or own == 0
        assert (single.labelled == 2).all()
    assert errors[1] < 5  # two dear scores a question say more than the mean of all (15)
    assert errors[0] < 2.5


def test_the_share_that_buys_most_rises_with_what_is_left_open() -> None:
    assert best_share(400, 100, 1, 10) == pytest.approx(np.sqrt(100 / 300 / 10))
    assert best_share(400, 300, 1, 10) > best_share(400, 100, 1, 10)
    assert best_share(400, 400, 1, 10) == best_share(400, 100, 100, 1) == 1


@pytest.mark.parametrize(
    "name,bounds",
    [
        ("two-phase mean", {("ours", "coverage"): (0.8, 1.0), ("naive, cheap judge alone", "coverage"): (0.0, 0.2)}),
        (
            "two-phase difference",
            {("ours", "false positives"): (0.0, 0.2), ("naive, cheap judge alone", "false positives"): (0.7, 1.0)},
        ),
        ("two-phase EM rate", {("ours, strict", "coverage"): (0.8, 1.0)}),
    ],
)
def test_small_simulations(name: str, bounds: dict[tuple[str, str], tuple[float, float]]) -> None:
    checks = calibration_two_phase.two_phase_checks()
    check = next(check for check in checks if (check.name, check.data) == (name, "24 questions, a tenth"))
    values = {(row["method"], row["kind"]): row["value"] for row in calibration.run(check, 60)}
    for key, (low, high) in bounds.items():
        assert low <= values[key] <= high, (key, values[key])


def test_a_shares_fit_has_its_error_in_the_spread_and_not_in_the_mean() -> None:
    rng, n = np.random.default_rng(11), 200
    x = (rng.random((n, 1)) < 0.3).astype(float)
    y = (rng.random(n) < 0.1 + 0.6 * x[:, 0]).astype(float)
    drawn = np.zeros(n, dtype=bool)  # three of the 1s less than their part of a sample of 20, so each stands for more
    drawn[np.concatenate([np.flatnonzero(x[:, 0] == 1)[:3], np.flatnonzero(x[:, 0] == 0)[:17]])] = True
    given = x, np.where(drawn, y, NAN), np.full(n, 0.1), drawn, np.arange(n)
    plain, shares = pseudo_values(*given), pseudo_values(*given, shares=True)
    assert shares.values.mean() == pytest.approx(plain.values.mean(), abs=1e-12)
    ones = x[:, 0].sum() / 30  # g of a drawn answer whose cheap score is 1: those there are for those drawn, weighted
    corrections = np.nan_to_num(plain.residuals) / 0.1
    one = int(np.flatnonzero(drawn & (x[:, 0] == 1))[0])
    moved = shares.values - plain.values
    undrawn = moved[~drawn][0]
    assert moved[one] - undrawn == pytest.approx(corrections[one] * min(ones - 1, 0.5), rel=1e-6)
