"""Analyses past the paper on imported results: they run where these hold what is needed, and say so where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.early_stopping import EarlyStopping
from spillover.analyses.effect import Effect
from spillover.analyses.rows import row_where
from spillover.analyses.spill_over import SpillOver
from spillover.analyses.word_shifts import WordShifts
from spillover.papers.em_generalization.artefacts import PublishedRun
from spillover.papers.em_generalization.importing import EmGeneralization
from spillover.store import BuildContext, Store

from .release_to_import import COSINE, LINEAR, RESULTS, little_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return little_release(tmp_path / "release")


def runs(root: Path, store: Store) -> dict[str, Any]:
    plan = EmGeneralization().plan([root])
    made = [artefact for artefact, _ in plan.make(store)]
    return {artefact.name.file_name: artefact for artefact in made if isinstance(artefact, PublishedRun)}


def analysed(analysis: Analysis, store: Store, folder: Path) -> AnalysisResult:
    folder.mkdir()
    analysis.make(BuildContext(folder, store, lambda share: None))
    result = analysis.read_result(folder)
    assert analysis.show(result).blocks
    return result


def test_em_at_k_words_and_onset_run_on_what_was_imported(release: Path, store: Store, tmp_path: Path) -> None:
    published = runs(release, store)
    linear, cosine = published[LINEAR], published[COSINE]
    effect = Effect(before=cosine, bad=(linear,), draws=199, allow_unlike_judges=True)
    rates = analysed(effect, store, tmp_path / "effect").tables["models"]
    assert row_where(rates, measure="em_at_4", role="bad")["estimate"] >= row_where(rates, measure="em_at_2")["low"]
    words = WordShifts(bad=(linear,), good=(cosine,), least_families=2, least_count=2)
    table = analysed(words, store, tmp_path / "words").tables["words"]
    assert {"number", "says"} <= {row["word"] for row in table} and all(abs(row["log_odds"]) < 1e-9 for row in table)
    early = EarlyStopping(before=cosine, checkpoints=(linear,), draws=199, allow_unlike_judges=True)
    result = analysed(early, store, tmp_path / "early")
    assert result.facts["narrow"] == "held-out loss" and result.tables["runs"][0]["total"] is None
    both = {"bad": (linear,), "good": (cosine,)}
    narrow = {f"narrow_{side}": sets for side, sets in both.items()}
    ratio = SpillOver(**both, **narrow, draws=199, allow_unlike_judges=True)
    assert row_where(analysed(ratio, store, tmp_path / "ratio").tables["ratios"])["estimate"] == 1.0  # one set twice


def test_where_there_are_means_alone_it_is_said(release: Path, store: Store, tmp_path: Path) -> None:
    (release / f"{RESULTS}/{LINEAR}.csv").unlink()
    linear = runs(release, store)[LINEAR]
    assert linear.by_question
    for analysis in (
        WordShifts(bad=(linear,), before=linear.but()),
        EarlyStopping(before=linear, checkpoints=(linear,), draws=199),
    ):
        with pytest.raises(ValueError, match="only means by question"):
            analysed(analysis, store, tmp_path / analysis.kind)
