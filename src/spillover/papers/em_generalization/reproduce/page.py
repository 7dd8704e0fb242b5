"""A reproduction as files: cells.csv, ours.csv, and a page with its tables and figures. Computes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.analyses.blocks import Figure
from spillover.papers.em_generalization.reproduce.cells import DIGITS, TOLERANCE, Cell, settled
from spillover.papers.em_generalization.reproduce.reproduce import Reproduction
from spillover.papers.em_generalization.reproduce.sections import Shown, overview, section_of
from spillover.records import table, write_csv
from spillover.report.figures import draw_svg
from spillover.report.page import PageSection, render
from spillover.report.provenance_section import Ran

PAGE, CELLS, OURS = "index.html", "cells.csv", "ours.csv"
CELL = {
    **dict.fromkeys(("part", "cell"), "text"),
    **dict.fromkeys(("published", "ours", "difference"), "number"),
    **dict.fromkeys(("verdict", "note"), "text"),
}
BESIDE = {
    **dict.fromkeys(("part", "cell"), "text"),
    **dict.fromkeys(("published", "estimate", "low", "high"), "number"),
    **{"n": "count", "unit": "text"},
    **dict.fromkeys(("noise_ceiling", "p", "q"), "number"),
    **{"note": "text"},
}
TITLE = "The paper's numbers"
ABOUT = (
    "What Shapes Emergent Misalignment? (arXiv 2606.20814), number by number: computed anew from its released files "
    f"(aisa-group/em-generalization). A number matches when it comes out to {TOLERANCE:g}, relative; the whole list is "
    f"{CELLS}, and what we would report in the place of each number {OURS}, both beside this page."
)


def write_reproduction(done: Reproduction, out: Path) -> Path:
    """Everything into the folder `out`; the page. The same reproduction gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in ("tables", "figures"):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir()
    write_csv(table([cell.row() for cell in done.cells], _schema(CELL)), out / CELLS)
    write_csv(table([cell.beside_row() for cell in done.cells], _schema(BESIDE)), out / OURS)
    parts = [_written(shown, out) for shown in _shown(done)]
    page = out / PAGE
    ran = Ran(_facts(done), (), (), ())
    page.write_text(render(TITLE, ABOUT, parts, ran), encoding="utf-8", errors="replace")
    return page


def _shown(done: Reproduction) -> list[Shown]:
    by_part: dict[str, list[Cell]] = {}
    for cell in done.cells:
        by_part.setdefault(cell.part, []).append(cell)
    return [overview(done.cells), *(section_of(part, cells, done.tables) for part, cells in by_part.items())]


def _written(shown: Shown, out: Path) -> PageSection:
    """The part's tables and figures beside the page, and the part itself."""
    for name, rows in shown.tables.items():
        rows = [{key: _settled(value) for key, value in row.items()} for row in rows]
        write_csv(table(rows), out / "tables" / f"{shown.name}_{name}.csv")
    figures = {}
    for block in shown.section.blocks:
        if isinstance(block, Figure):
            figures[block.name] = draw_svg(block)
            (out / "figures" / f"{shown.name}_{block.name}.svg").write_bytes(figures[block.name])
    return PageSection(shown.name, shown.section, figures)


def _settled(value: Any) -> Any:
    return settled(value, DIGITS) if isinstance(value, float) else value


def _facts(done: Reproduction) -> tuple[tuple[str, str], ...]:
    read = ", ".join(f"{count:,} {what}" for what, count in done.read.items())
    return (
        ("Read", read),
        ("Match", f"the same to {TOLERANCE:g}, relative; a published 0 is matched by anything below 1e-12"),
        ("Differs", "the reason stands first in the note; 'unexplained' where none is known"),
        ("Ours", "by one formula for each kind of number, the same for the whole release; intervals are 95%"),
        ("Not read", f"{len(done.problems):,} files or lines, in the last section" if done.problems else "nothing"),
    )


def _schema(columns: Mapping[str, str]) -> pa.Schema:
    kinds = {"text": pa.string(), "number": pa.float64(), "count": pa.int64()}
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
