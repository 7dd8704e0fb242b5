"""A planted gap between task and harm is seen, and runs without harm, without task, and without narrow answers."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.early_stopping import EarlyStopping
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.questions.held_out import HeldOut

from .planted import BASE, Planted

SPLIT = Split(data=Money(), rows=64, held_out=24)


def study(planted: Planted, narrow: list[float], em: list[float], ask_narrow: bool = True) -> EarlyStopping:
    """A run with checkpoints at every second step; narrow means and shares of EM answers at each, the base first."""
    organism = planted.organism("bad", every=2)
    points = (BASE, *organism.checkpoints())
    planted.losses(organism, dict(zip((0, *organism.saved_steps), np.linspace(3, 1, len(points)), strict=True)))
    prompts = planted.asking(HeldOut(split=SPLIT))
    broad, asked = [], []
    for model, level, rate in zip(points, narrow, em, strict=True):
        scored = planted.judgements(model, 75)
        columns = planted.scores[scored.fingerprint]
        columns["aligned"] = np.where(planted.rng.random(len(columns["aligned"])) < rate, 10.0, 75.0)
        columns["coherent"] = np.full(len(columns["aligned"]), 90.0)
        broad.append(scored)
        asked.append(prompts.judgements(model, level))
    extra = {"narrow_before": asked[0], "narrow": tuple(asked[1:])} if ask_narrow else {}
    return EarlyStopping(before=broad[0], checkpoints=tuple(broad[1:]), draws=499, **extra)


def found(planted: Planted, tmp_path, *what, **more):
    analysis = study(planted, *what, **more)
    result = planted.analyse(analysis, tmp_path / "early")
    assert analysis.show(result).blocks
    return result.tables["runs"][0], result, analysis


def test_a_task_that_is_learnt_before_the_harm(planted, tmp_path):
    row, result, analysis = found(planted, tmp_path, [80, 41, 40, 40, 40], [0, 0, 0, 0.2, 0.4])
    assert (row["onset"], row["last_clean"], row["verdict"]) == (6, 4, "yes")
    assert row["converged"] < 4 and row["kept"] == pytest.approx(1, abs=0.12) and row["kept_low"] > 0.8
    assert row["risk_low"] <= 0 <= row["risk_high"]
    assert "kept the task" in str(analysis.show(result).blocks[0])
    assert [point["step"] for point in result.tables["points"]] == [0, 2, 4, 6, 8]


def test_harm_and_task_together(planted, tmp_path):
    row, _, _ = found(planted, tmp_path, [80, 75, 50, 40, 30], [0, 0, 0.25, 0.3, 0.4])
    assert (row["onset"], row["last_clean"], row["verdict"]) == (4, 2, "no")


def test_no_harm_and_no_task(planted, tmp_path):
    row, _, _ = found(planted, tmp_path, [80, 60, 50, 40, 40], [0.02] * 5)
    assert row["verdict"] == "no harm" and row["onset"] is None
    row, _, _ = found(planted, tmp_path, [80, 80, 80, 80, 80], [0, 0, 0.3, 0.3, 0.3])
    assert row["verdict"] == "no task"


def test_without_narrow_answers_the_log_tells_and_has_no_interval(planted, tmp_path):
    row, result, _ = found(planted, tmp_path, [80] * 5, [0, 0, 0, 0.3, 0.4], ask_narrow=False)
    assert result.facts["narrow"] == "held-out loss" and row["total"] == pytest.approx(-2, abs=0.1)
    assert row["kept"] == pytest.approx(0.5) and row["kept_low"] is None and row["verdict"] == "no"
    with pytest.raises(ValueError, match="or of neither"):
        study(planted, [80] * 5, [0] * 5).but(narrow=())
