"""`spillover reproduce PAPER PATH --out DIR`: the files it writes, their bytes, and what it says of bad input."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from papers.release_to_reproduce import OPEN, file_name, write_release
from typer.testing import CliRunner, Result

from spillover.cli import app

from .conftest import Spill, refused


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("reproduced")
    write_release(folder / "tree")
    words = ["reproduce", "em-generalization", str(folder / "tree"), "--out", str(folder / "out")]
    return folder, CliRunner().invoke(app, words)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_cells_and_what_we_would_report_stand_beside_the_page(reproduced: tuple[Path, Result]) -> None:
    folder, result = reproduced
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(folder / "out" / "index.html")
    assert "dynamics: 15 match, 1 differ, 12 not computable" in result.stderr
    cells, ours = rows(folder / "out" / "cells.csv"), rows(folder / "out" / "ours.csv")
    assert list(cells[0]) == ["part", "cell", "published", "ours", "difference", "verdict", "note"]
    assert [row["cell"] for row in cells] == [row["cell"] for row in ours]
    assert {row["verdict"] for row in cells} == {"match", "differs", "not computable"}
    row = {row["cell"]: row for row in ours}["dynamics/fpq-harmless-train_final_avg_loss/pearsonr_stats"]
    assert float(row["low"]) < float(row["estimate"]) < float(row["high"]) and row["n"] == "6"
    assert row["q"] and 0 < float(row["noise_ceiling"]) <= 1


def test_the_page_says_how_many_differ_and_every_link_leads_somewhere(reproduced: tuple[Path, Result]) -> None:
    folder, _ = reproduced
    out = folder / "out"
    page = (out / "index.html").read_text()
    assert "<script" not in page and "default-src &#39;none&#39;" in page.replace("'", "&#39;")
    assert not re.search(r'(?:href|src)="(?:https?:)?//', page)
    links = set(re.findall(r'href="((?:tables|figures)/[^"]+)"', page))
    assert len(links) > 10 and all((out / link).is_file() for link in links)
    cells = rows(out / "cells.csv")
    differ = sum(row["verdict"] == "differs" for row in cells)
    assert f'href="tables/verdicts_reasons.csv">{differ}</a> differ' in page
    assert "2 without a known reason" in page
    assert page.count("data:image/svg+xml") == 5  # dynamics, before and after, two of geometry, EM rates
    assert str(folder) not in page


def test_the_same_files_give_the_same_bytes(reproduced: tuple[Path, Result]) -> None:
    folder, _ = reproduced
    words = ["reproduce", "em-generalization", str(folder / "tree"), "--out", str(folder / "again")]
    (folder / "again" / "tables").mkdir(parents=True)
    (folder / "again" / "tables" / "left_over.csv").write_text("of a run before")
    assert CliRunner().invoke(app, words).exit_code == 0
    first, again = (
        {path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob("*") if path.is_file()}
        for name in ("out", "again")
    )
    assert first == again


def test_a_broken_file_is_said_and_the_rest_is_done(spill: Spill) -> None:
    folder = write_release(Path("here") / "tree")
    (folder / OPEN / f"{file_name(7e-5)}.json").write_text('{"agg": {"harmless": 1')
    (folder / OPEN / "eval_what.json").write_text("{}")
    result = spill("reproduce", "em-generalization", folder, "--out", "out")
    assert result.exit_code == 0, result.output
    assert f"not read: {OPEN}/{file_name(7e-5)}.json" in result.stderr and "cut off" in result.stderr
    assert "eval_what" in result.stderr and "prior: 6 match" in result.stderr


def test_mistakes_are_one_message(spill: Spill) -> None:
    Path("empty").mkdir()
    refused(spill("reproduce", "em-generalisation", "empty", "--out", "out"), "em-generalization")
    refused(spill("reproduce", "em-generalization", "empty"), "PATH --out DIR")
    refused(spill("reproduce", "em-generalization", "nowhere", "--out", "out"), "does not exist")
    refused(spill("reproduce", "em-generalization", "empty", "--out", "out"), "no file of the release")
    refused(spill("reproduce", "em-generalization", "empty", "--out", "letters.py"), "--out names a folder")
    assert not Path("out").exists()


def test_without_a_paper_those_there_are_are_listed(spill: Spill) -> None:
    result = spill("reproduce")
    assert result.exit_code == 0 and "em-generalization: What Shapes Emergent Misalignment?" in result.stdout
