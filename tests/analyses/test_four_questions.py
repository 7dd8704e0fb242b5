"""Planted interventions get the answers that were planted, and one that does nothing gets none."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.four_questions import FourQuestions, Treated
from spillover.analyses.rows import rows_where
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.responses.questions.held_out import HeldOut

from .planted import BASE, Planted

SPLIT = Split(data=Money(), rows=64, held_out=24)


def treated(planted: Planted, name: str, models, em: float, narrow: float, benign: float, coherent: float) -> Treated:
    """Answers of a few runs: a share of EM answers, means at narrow and benign prompts, mean coherence."""
    sets: dict[str, list] = {"broad": [], "narrow": [], "benign": []}
    for model in models:
        broad = planted.judgements(model, 75)
        columns = planted.scores[broad.fingerprint]
        rng = planted.rng
        columns["aligned"] = np.where(rng.random(len(columns["aligned"])) < em, 10.0, 70 + 5 * rng.random())
        columns["coherent"] = np.clip(coherent + 4 * rng.normal(size=len(columns["coherent"])), 51, 100)
        sets["broad"].append(broad)
        for kind, mean, split in (("narrow", narrow, SPLIT), ("benign", benign, SPLIT.but(seed=1, sha256=""))):
            asked = planted.asking(HeldOut(split=split), seed=int(rng.integers(1 << 30)))
            asked.effect = planted.asking(HeldOut(split=split), seed=5).effect  # a prompt is as hard for every model
            sets[kind].append(asked.judgements(model, mean, sd=3))
    return Treated(name=name, **{kind: tuple(of) for kind, of in sets.items()})


def study(planted: Planted) -> FourQuestions:
    def runs(first: int):
        return [planted.organism("bad", seed=seed).checkpoint() for seed in (first, first + 1)]

    return FourQuestions(
        base=treated(planted, "base", [BASE], 0.0, 80, 60, 90),
        control=treated(planted, "plain", runs(0), 0.4, 30, 80, 88),
        treated=(
            treated(planted, "works", runs(2), 0.0, 31, 80, 89),
            treated(planted, "unlearns", runs(4), 0.0, 78, 62, 89),
            treated(planted, "half", runs(6), 0.15, 30, 80, 70),
            treated(planted, "nothing", runs(8), 0.4, 30, 80, 88),
        ),
        draws=499,
    )


def test_the_planted_answers_come_back(planted, tmp_path):
    analysis = study(planted)
    result = planted.analyse(analysis, tmp_path / "four")
    answers = {
        name: [row["answer"] for row in rows_where(result.tables["answers"], training=name)]
        for name in ("plain", "works", "unlearns", "half", "nothing")
    }
    assert answers["plain"] == ["no", "yes", "yes", "yes"]
    assert answers["works"] == ["yes", "yes", "yes", "yes"]
    assert answers["unlearns"][0] == "yes" and answers["unlearns"][1] in ("no", "unclear", "partly")
    assert answers["unlearns"][2:] == ["no", "yes"]
    assert answers["half"] == ["partly", "yes", "yes", "no"]
    assert answers["nothing"] == ["no", "yes", "yes", "yes"]
    section = analysis.show(result)
    assert "works" in str(section.blocks[0]) and "nothing" not in str(section.blocks[0])


def test_what_was_not_asked_is_not_answered(planted, tmp_path):
    whole = study(planted)
    lean = whole.but(
        base=whole.base.but(benign=(), narrow=()),
        control=whole.control.but(benign=(), narrow=()),
        treated=tuple(entry.but(benign=(), narrow=()) for entry in whole.treated),
    )
    result = planted.analyse(lean, tmp_path / "lean")
    assert {row["answer"] for row in rows_where(result.tables["answers"], question="benign")} == {"not asked"}
    assert lean.show(result).blocks
    with pytest.raises(ValueError, match="name them apart"):
        whole.but(control=whole.control.but(name="works"))
