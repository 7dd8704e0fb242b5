"""Analyses of two-phase scores: the planted truth comes through a cheap judge that is off by 30 points and by 10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spillover.analyses.dynamics import Dynamics
from spillover.analyses.effect import Effect
from spillover.analyses.phases import PREDICTED
from spillover.analyses.priors import Priors
from spillover.analyses.rows import row_where, rows_where
from spillover.analyses.scores import pool_runs, read_scores
from spillover.analyses.trajectories import Trajectories
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.judges.two_phase.judge import TwoPhase
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.maths.probability_sample import stratified_sample

from .planted import BASE, METRICS, Planted

JUDGE = TwoPhase(cheap=Embedded(), dear=Endpoint(model="dear"), share=0.25)


def two_phase(planted: Planted, model: Any, mean: float, off: float, **how: float) -> Judgements:
    """Judgements by both: the planted scores are the dear judge's, seen of a sample alone."""
    whole = planted.judgements(model, mean, **how)
    columns = dict(planted.scores[whole.fingerprint])
    size = len(columns["aligned"])
    for metric in METRICS:
        cheap = 50 + 0.6 * (columns[metric] - 50) + off + planted.rng.normal(0, 6, size)
        columns[metric + CHEAP] = np.clip(cheap, 0, 100)
    keys = [f"{model.label()} {number} {mean}" for number in range(size)]
    frame = np.ones(size, dtype=bool)
    sample = stratified_sample(columns["question"].tolist(), columns["aligned" + CHEAP], 0.25, keys, frame)
    for metric in METRICS:
        columns[metric + DEAR] = np.where(sample.drawn, columns[metric], np.nan)
    judged = whole.but(judge=JUDGE)
    planted.scores[judged.fingerprint] = columns | {INCLUSION: sample.inclusion, DRAWN: sample.drawn}
    return judged


@pytest.fixture
def effect(planted: Planted) -> Effect:
    before = two_phase(planted, BASE, 60, -10)
    bad = [two_phase(planted, planted.organism("bad", seed=seed).checkpoint(), 45, -30, own=3) for seed in (0, 1)]
    good = two_phase(planted, planted.organism("good").checkpoint(), 57, -10, own=3)
    return Effect(before=before, bad=tuple(bad), good=(good,), draws=299)


def test_the_effect_is_the_dear_judges_and_what_the_cheap_one_would_have_said_stands_beside(effect, planted, tmp_path):
    result = planted.analyse(effect, tmp_path / "effect")
    row = row_where(result.tables["contrasts"], contrast="bad-good", measure="aligned", scope="all")
    assert row["low"] < -12 < row["high"] and row["estimate"] == pytest.approx(-12, abs=3.5)
    phases = result.tables["phases"]
    gap = row_where(phases, what="bad minus good", metric="aligned")
    assert gap["cheap_alone"] < -22 and gap["cheap_alone_high"] < row["low"]  # as sure of itself as it is wrong
    assert gap["off"] == pytest.approx(gap["cheap_alone"] - gap["corrected"])
    level = rows_where(phases, metric="aligned")[1]
    assert level["dear"] == level["drawn"] == 90 and level["answers"] == 360 and level["r"] > 0.5
    for model in result.tables["models"]:
        bounds = (0, 1) if model["measure"].startswith("em_") else (0, 100)
        assert bounds[0] <= model["low"] <= model["estimate"] <= model["high"] <= bounds[1]


def test_single_questions_are_predictions_and_said_to_be(effect, planted, tmp_path):
    result = planted.analyse(effect, tmp_path / "effect")
    rows = rows_where(result.tables["questions"], metric="aligned", contrast="bad-base")
    assert len(rows) == 40 and all(row["p"] is None and row["q"] is None for row in rows)
    assert {row["dear_answers"] for row in rows} <= set(range(2, 11)) and sum(
        row["dear_answers"] for row in rows
    ) == 270
    truth = [planted.scores[scores.but(judge=Embedded()).fingerprint] for scores in (effect.bad[0], effect.bad[1])]
    by_question = {
        row["question"]: np.mean([side["aligned"][side["question"] == row["question"]].mean() for side in truth])
        for row in rows
    }
    errors = np.array([row["left_mean"] - by_question[row["question"]] for row in rows])
    assert np.sqrt(np.mean(errors**2)) < 6  # questions scatter by 12
    shown = effect.section(result)
    assert PREDICTED.split("} ")[1][:30] in str(shown) and "cheap one scored all answers" in str(shown)


def test_ordinary_scores_have_no_phases_and_are_not_pooled_with_them(planted, tmp_path):
    before, bad = planted.judgements(BASE, 60), planted.judgements(planted.organism().checkpoint(), 40)
    result = planted.analyse(Effect(before=before, bad=(bad,), draws=199), tmp_path / "effect")
    assert "phases" not in result.tables
    mixed = [read_scores(bad, planted.store), read_scores(two_phase(planted, BASE, 60, 0), planted.store)]
    with pytest.raises(ValueError, match="cannot be put together"):
        pool_runs(mixed, "both")


def test_single_answers_keep_scores_on_the_scale(planted):
    judged = two_phase(planted, BASE, 60, -10)
    single = read_scores(judged, planted.store, single=True)
    assert not single.two_phase and single["aligned"].min() >= 0 and single["aligned"].max() <= 100
    assert read_scores(judged, planted.store)["aligned"].max() > 100  # pseudo-values do not


def test_priors_dynamics_and_trajectories_take_them(planted, tmp_path, monkeypatch):
    monkeypatch.setattr("spillover.analyses.trajectories._weights", lambda *_: [])  # no weights are planted
    before = two_phase(planted, BASE, 60, -10)
    points = planted.organism(every=2).checkpoints()
    planted.losses(points[0].organism, {0: 3.0} | {point.step: 2.8 - 0.1 * i for i, point in enumerate(points)})
    levels = np.linspace(52, 36, len(points))
    along = [two_phase(planted, point, level, level / 2 - 40) for point, level in zip(points, levels, strict=True)]
    priors = Priors(before=before, after=(along[-1],), draws=199)
    tests = planted.analyse(priors, tmp_path / "priors").tables
    mean = row_where(tests["tests"], metric="aligned", of="mean", scope="all")
    assert mean["difference_low"] < -24 < mean["difference_high"]
    assert mean["r"] > 0.7 and 0.6 < mean["slope"] < 1.5 and mean["attainable_r"] is not None
    assert row_where(tests["tests"], metric="aligned", of="sd", scope="all")["difference"] is None
    dynamics = Dynamics(checkpoints=tuple(along), before=before, draws=199)
    result = planted.analyse(dynamics, tmp_path / "dynamics")
    assert result.tables["points"][-1]["estimate"] == pytest.approx(36, abs=5) and len(
        result.tables["phases"]
    ) == 1 + len(points)
    assert "cheap one scored" in str(dynamics.section(result))
    trajectories = Trajectories(checkpoints=tuple(along), before=before, draws=199)
    result = planted.analyse(trajectories, tmp_path / "trajectories")
    assert result.tables["points"][-1]["estimate"] == pytest.approx(36, abs=5)
    assert "rests on predictions" in str(trajectories.section(result))
