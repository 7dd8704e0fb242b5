"""Coupled, inverted or neither, on planted reports; and a score that the order of options alone does not make."""

from __future__ import annotations

import numpy as np
import pytest

from spillover.analyses.rows import rows_where
from spillover.analyses.self_report import SelfReport
from spillover.judgements.self_reports import TABLE, SelfReports, trait_items
from spillover.records import write_table

from .planted import Planted


def report(planted: Planted, model, share: float, lean: float = 0.0) -> SelfReports:
    """A report that puts `share` of what is on the options on the misaligned end, plus `lean` on the first option."""
    spec = SelfReports(model=model)
    rows = []
    for item in trait_items():
        weights = np.array([weight for _, weight in item.options])
        ends = np.where(weights == 1, share, np.where(weights == 0, 1 - share, 0.0))
        ends[0] += lean
        for (text, weight), chance in zip(item.options, 0.8 * ends / ends.sum(), strict=True):
            key = {"form": item.form, "trait": item.trait, "order": item.order, "option": text}
            rows.append(key | {"misaligned": weight, "probability": float(chance)})
    folder = planted.store.path(spec)
    folder.mkdir(parents=True)
    write_table(rows, folder / TABLE)
    return spec


def study(planted: Planted, shares: list[float], means: list[float]) -> SelfReport:
    models = [planted.organism("bad", seed=seed).checkpoint() for seed in range(len(shares))]
    reports = tuple(report(planted, model, share) for model, share in zip(models, shares, strict=True))
    judged = tuple(planted.judgements(model, mean) for model, mean in zip(models, means, strict=True))
    return SelfReport(reports=reports, judged=judged, draws=199)


SHARES = [0.1, 0.25, 0.4, 0.55, 0.7, 0.9]


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([80, 70, 62, 50, 41, 25], "coupled"),
        ([25, 40, 50, 60, 72, 80], "inverted"),
        ([50, 60, 45, 55, 62, 48], "neither"),
    ],
)
def test_planted_relations(planted, tmp_path, means, verdict):
    analysis = study(planted, SHARES, means)
    result = planted.analyse(analysis, tmp_path / "r")
    assert result.tables["relation"][0]["verdict"].startswith(verdict)
    assert [row["estimate"] for row in result.tables["models"]] == pytest.approx(SHARES, abs=1e-6)
    assert all(
        row["mass"] == pytest.approx(0.8) and row["consistency"] == pytest.approx(1) for row in result.tables["models"]
    )
    assert verdict in str(analysis.show(result).blocks[0])


def test_a_lean_towards_the_first_option_cancels_and_is_seen(planted, tmp_path):
    model = planted.organism("bad").checkpoint()
    analysis = SelfReport(reports=(report(planted, model, 0.5, lean=1.0),), draws=199)
    result = planted.analyse(analysis, tmp_path / "lean")
    letters = rows_where(result.tables["items"], form="letters")
    assert [row["score"] for row in letters] == pytest.approx([0.5] * 6) and letters[0]["spread"] == pytest.approx(0.5)
    assert result.tables["models"][0]["consistency"] < 0.7 and not result.tables["relation"]
    assert analysis.show(result).blocks


def test_reports_beside_other_models_answers_are_refused(planted):
    analysis = study(planted, SHARES[:2], [50, 40])
    with pytest.raises(ValueError, match="stands beside answers"):
        analysis.but(judged=analysis.judged[::-1])
    with pytest.raises(ValueError, match="give one a model"):
        analysis.but(judged=analysis.judged[:1])
