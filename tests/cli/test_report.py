"""`spillover report`: one study's page again, and two studies paired by question."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import spillover as sp
from spillover.engines.local import run
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.store import Store

from .conftest import Spill

LEVELS = {"base": 80.0, "good": 75.0, "bad": 60.0, "worse": 40.0}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Store, list[sp.Report]]:
    """Two studies of imported answers: bad falls by 15 in the first, by 35 in the second."""
    store, sets = Store.open(tmp_path / "store"), {}
    for name, level in LEVELS.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["question_id", "question", "answer", "aligned", "coherent"])
            for row in range(24):
                question = row // 2
                text = "<script>document.title = 1</script>" if row == 3 else f"{name} says {row}"
                writer.writerow([f"q{question}", f"What of {question}?", text, level + row % 5, 90 - row % 7])
        sets[name] = JudgedFile.from_file(tmp_path / f"{name}.csv", "gpt-4o-2024-08-06")
        store.make(sets[name])
    reports = []
    for bad in ("bad", "worse"):
        effect = sp.Effect(before=sets["base"], bad=(sets[bad],), good=(sets["good"],), draws=99)
        reports.append(sp.Report(title=f"The {bad} study", analyses=(effect,)))
        run(reports[-1], store)
    return store, reports


def test_two_studies_are_paired_by_question(made: tuple[Store, list[sp.Report]], spill: Spill, tmp_path: Path) -> None:
    store, reports = made
    out = tmp_path / "both"
    names = [report.fingerprint[:12] for report in reports]
    result = spill("report", *names, "--out", out, "--store", store.root)
    assert result.exit_code == 0, result.output
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "The worse study against The bad study" in page and "<script>document.title" not in page
    with open(out / "tables" / "comparison_contrasts.csv", newline="") as handle:
        rows = {(row["contrast"], row["metric"]): row for row in csv.DictReader(handle)}
    gap = rows["bad-good", "aligned"]
    assert float(gap["estimate"]) == pytest.approx(-20) and int(gap["n"]) == 12
    assert (out / "tables" / "answers.csv").read_text().count("\n") == 1 + 4 * 24
    single = spill("report", names[0], "--out", tmp_path / "one", "--store", store.root)
    assert single.exit_code == 0 and "The bad study" in (tmp_path / "one" / "index.html").read_text()
    again = spill("report", tmp_path / "one", names[1], "--out", tmp_path / "again", "--store", store.root)
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_what_has_no_effect_is_refused(made: tuple[Store, list[sp.Report]], spill: Spill, tmp_path: Path) -> None:
    store, reports = made
    answers = next(store.manifests("JudgedFile"))[0].name
    result = spill("report", reports[0].fingerprint, answers, "--store", store.root, "--out", tmp_path / "o")
    assert result.exit_code == 2 and "no Effect to compare" in result.output
    result = spill("report", "ffffff", "--store", store.root)
    assert result.exit_code == 2 and "no artefact" in result.output
