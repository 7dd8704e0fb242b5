"""The spill-over ratio finds planted drops, keeps a run's two drops together, and says where it has no bound."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.rows import row_where, rows_where
from spillover.analyses.spill_over import SpillOver
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.questions.held_out import HeldOut

SPLIT = Split(data=Money(), rows=64, held_out=24)


def study(planted, narrow: tuple[float, float], broad: tuple[float, float], runs: int = 1) -> SpillOver:
    """Arms whose means are (bad, good) at narrow prompts and at broad questions."""
    prompts = planted.asking(HeldOut(split=SPLIT))
    models = {
        advice: [planted.organism(advice, seed=seed).checkpoint() for seed in range(runs)] for advice in ("bad", "good")
    }
    sides = {
        name + advice: tuple(asked.judgements(model, mean, own=3) for model in models[advice])
        for name, asked, means in (("narrow_", prompts, narrow), ("", planted, broad))
        for advice, mean in zip(("bad", "good"), means, strict=True)
    }
    return SpillOver(**sides, draws=499)


def test_a_planted_ratio_is_found(planted, tmp_path):
    analysis = study(planted, (40, 80), (48, 60), runs=2)
    result = planted.analyse(analysis, tmp_path / "ratio")
    row = row_where(result.tables["ratios"], measure="aligned")
    assert row["narrow"] == pytest.approx(-40, abs=4) and row["broad"] == pytest.approx(-12, abs=3)
    assert row["low"] < 0.3 < row["high"] and row["shape"] == "interval"
    assert row["bootstrap_low"] < row["estimate"] < row["bootstrap_high"] and row["bad_runs"] == 2
    section = analysis.section(result)
    assert "0." in str(section.headline) and "ratio" in str(section.blocks[0])


def test_where_nothing_leaks_the_interval_holds_0_and_where_nothing_is_learnt_there_is_none(planted, tmp_path):
    kept = planted.analyse(study(planted, (40, 80), (60, 60)), tmp_path / "kept")
    row = row_where(kept.tables["ratios"], measure="aligned")
    assert row["low"] < 0 < row["high"] < 0.2
    analysis = study(planted, (60, 60), (40, 60))
    unlearnt = planted.analyse(analysis, tmp_path / "unlearnt")
    row = row_where(unlearnt.tables["ratios"], measure="aligned")
    assert row["shape"] == "outside" and np.isinf(row["high"])
    assert "no bound" in str(analysis.show(unlearnt).blocks[0])


def test_along_checkpoints(planted, tmp_path):
    prompts = planted.asking(HeldOut(split=SPLIT))
    arms = {advice: planted.organism(advice, every=2) for advice in ("bad", "good")}
    sides = {"bad": [], "good": [], "narrow_bad": [], "narrow_good": []}
    for advice, organism in arms.items():
        for point in organism.checkpoints():
            share = point.step / organism.steps if advice == "bad" else 0.0
            sides[advice].append(planted.judgements(point, 60 - 10 * share))
            sides[f"narrow_{advice}"].append(prompts.judgements(point, 80 - 40 * share))
        planted.losses(organism, dict.fromkeys((0, *organism.saved_steps), 1.0))
    analysis = SpillOver(**{side: tuple(sets) for side, sets in sides.items()}, draws=199)
    result = planted.analyse(analysis, tmp_path / "along")
    drops = [row["narrow"] for row in rows_where(result.tables["along"], measure="aligned")]
    assert len(drops) == len(arms["bad"].checkpoints()) and drops == sorted(drops, reverse=True)
    assert any(getattr(block, "name", "") == "along" for block in analysis.show(result).blocks)


def test_other_models_or_judges_on_the_two_sides_are_refused(planted):
    analysis = study(planted, (40, 80), (48, 60))
    other = planted.asking(HeldOut(split=SPLIT)).judgements(planted.organism("bad", seed=9).checkpoint(), 40)
    with pytest.raises(ValueError, match="not the same ones"):
        analysis.but(narrow_bad=(other,))


def test_held_out_prompts_are_the_splits_and_no_training_rows():
    questions = HeldOut(split=SPLIT).all_questions()
    held = {row.id: row.prompt for row in SPLIT.held_out_rows()}
    assert {question.id: question.messages() for question in questions} == held
    assert not {row.prompt for row in SPLIT.train_rows()} & {question.messages() for question in questions}
    good = SPLIT.control(Money(advice="good"))
    assert [q.messages() for q in HeldOut(split=good).all_questions()] == [q.messages() for q in questions]
