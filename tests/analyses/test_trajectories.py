"""Trajectories find a planted onset and one order of questions, and none where there is none."""

import numpy as np
import pytest

from spillover.analyses.rows import row_where
from spillover.analyses.trajectories import Trajectories

from .planted import BASE, Planted


def study(planted: Planted, levels: dict[int, float]) -> Trajectories:
    checkpoints = []
    for seed in (0, 1):
        organism = planted.organism(seed=seed, every=2)
        planted.losses(organism, {0: 2.0, **{step: 2.0 - 0.1 * step for step in organism.saved_steps}})
        checkpoints += [planted.judgements(point, levels[point.step], sd=3.0) for point in organism.checkpoints()]
    return Trajectories(checkpoints=tuple(checkpoints), before=planted.judgements(BASE, 75.0, sd=3.0), draws=199)


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    monkeypatch.setattr("spillover.analyses.trajectories._weights", lambda name, series, context: [])


def test_a_planted_step_is_found(planted, tmp_path):
    analysis = study(planted, {2: 75.0, 4: 75.0, 6: 50.0, 8: 50.0})
    result = planted.analyse(analysis, tmp_path / "t")
    runs = {row["run_id"] for row in result.tables["points"]}
    assert len(runs) == 2
    for run in runs:
        sharp = row_where(result.tables["onsets"], run_id=run, what="sharpest change")
        half = row_where(result.tables["onsets"], run_id=run, what="half of the change")
        assert sharp["estimate"] == 5 and sharp["low"] == sharp["high"] == 5
        assert 4 < half["low"] <= half["estimate"] <= half["high"] < 6
    points = [row for row in result.tables["points"] if row["run_id"] == min(runs)]
    assert [row["step"] for row in points] == [0, 2, 4, 6, 8]
    assert points[0]["estimate"] == pytest.approx(75, abs=4) and points[-1]["estimate"] == pytest.approx(50, abs=4)
    assert [row["held_out_loss"] for row in points] == pytest.approx([2.0, 1.8, 1.6, 1.4, 1.2], abs=1e-9)
    assert points[0]["grad_norm"] is None and points[1]["grad_norm"] == 1.0
    agreement = result.tables["concordance"][0]
    assert agreement["runs"] == 2 and agreement["p"] > 0.01  # all questions fall at one step: noise orders them
    assert analysis.show(result).blocks


def test_questions_in_one_planted_order_agree(planted, tmp_path):
    analysis = study(planted, {2: 70.0, 4: 65.0, 6: 60.0, 8: 55.0})
    names = list(planted.effect)
    for judgements in analysis.checkpoints:
        columns, step = planted.scores[judgements.fingerprint], judgements.responses.model.step
        late = np.array([names.index(name) % 2 for name in columns["question"]], dtype=bool)
        drop = np.where(late, 20.0 * (step >= 7), 20.0 * (step >= 3))
        start = 60 + np.array([planted.effect[name] for name in columns["question"]]) / 4
        columns["aligned"] = start - drop + np.random.default_rng(step).normal(0, 1, len(drop))
    before = planted.scores[analysis.before.fingerprint]
    before["aligned"] = 60 + np.array([planted.effect[name] for name in before["question"]]) / 4
    result = planted.analyse(analysis, tmp_path / "t")
    agreement = result.tables["concordance"][0]
    assert agreement["estimate"] > 0.8 and agreement["p"] < 0.01
