"""A study that is being made has a page of what there is, which grows and in the end gives way to the report."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import spillover as sp
from spillover.cli import watching
from spillover.engines.local import run
from spillover.judgements.tables.imported_scores import JudgedFile
from spillover.report.unfinished import write_unfinished
from spillover.store import Store


@pytest.fixture
def study(tmp_path: Path) -> tuple[sp.Report, dict[str, JudgedFile]]:
    sets = {}
    for name, level in {"base": 80.0, "good": 75.0, "bad": 50.0}.items():
        with open(tmp_path / f"{name}.csv", "w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["question_id", "question", "answer", "aligned", "coherent"])
            for row in range(16):
                writer.writerow([f"q{row // 2}", f"What of {row // 2}?", f"{name} {row}", level + row % 5, 90])
        sets[name] = JudgedFile.from_file(tmp_path / f"{name}.csv", "gpt-4o-2024-08-06")
    effect = sp.Effect(before=sets["base"], bad=(sets["bad"],), good=(sets["good"],), draws=99)
    return sp.Report(title="A long study", analyses=(effect,)), sets


def test_the_page_grows_with_the_store(study, store: Store, tmp_path: Path) -> None:
    report, sets = study
    out = tmp_path / "live"
    assert write_unfinished(report, store, out, 30).made == 0
    page = (out / "index.html").read_text()
    assert "no answer is judged yet" in page and '<meta http-equiv="refresh" content="30">' in page
    assert "<script" not in page
    for name in ("base", "bad"):
        store.make(sets[name])
    progress = write_unfinished(report, store, out, 30)
    assert (progress.made, progress.answers) == (2, 32)
    page = (out / "index.html").read_text()
    assert "2 of 4 parts are made" in page and "32 answers" in page and "What narrow training did" not in page
    with open(out / "tables" / "sofar_models.csv", newline="") as handle:
        levels = {row["arm"]: float(row["aligned"]) for row in csv.DictReader(handle)}
    assert levels["base"] == pytest.approx(82, abs=1) and levels["bad"] == pytest.approx(52, abs=1)
    store.make(sets["good"])
    run(report.analyses[0], store)
    write_unfinished(report, store, out, 30)
    assert "What narrow training did" in (out / "index.html").read_text()


def test_watching_ends_with_the_report(study, store: Store, tmp_path: Path, monkeypatch, capsys) -> None:
    report, _ = study
    looks = []

    def slept(seconds: float) -> None:
        looks.append(seconds)
        run(report, store)

    monkeypatch.setattr(watching.time, "sleep", slept)
    finished: list[bool] = []
    watching.watch_study(report, store.root, tmp_path / "live", lambda: finished.append(True))
    assert looks == [30] and finished == [True]
    assert "0 of 4 made" in capsys.readouterr().err
    with pytest.raises(ValueError, match="only a report"):
        watching.watch_study(report.analyses[0], store.root, tmp_path / "live", lambda: None)
