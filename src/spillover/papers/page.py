"""A reproduction as files: cells.csv, ours.csv, and a page with a section a part, its tables and figures beside it."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from spillover.analyses.blocks import Block, Column, Number, Paragraph, Section, Table
from spillover.analyses.rows import TableRow
from spillover.papers.cells import (
    DIGITS,
    TOLERANCE,
    UNEXPLAINED,
    VERDICTS,
    Cell,
    Recommended,
    reasons,
    settled,
    tally,
)
from spillover.papers.paper import PaperPart, Reproduction
from spillover.records import table, write_csv
from spillover.report.page import Page, PageSection, render, write_section
from spillover.report.provenance_section import Provenance

PAGE, CELLS, OURS = "index.html", "cells.csv", "ours.csv"
OF_TABLES = {"estimate": "we_report", "low": "we_report_low", "high": "we_report_high", "note": "we_report_note"}
ABOUT = (
    f"A number matches when it comes out to {TOLERANCE:g}, relative; the whole list is {CELLS}, and what we would "
    f"report in the place of each number {OURS}, both beside this page."
)
ASKS = "Do the paper's numbers come out of its own released files, and what would we report in their place?"
ORDER = {verdict: index for index, verdict in enumerate(("differs", "match", "not computable"))}
NOTE = 90  # characters of a note that still go into the table
DASH = "\u2013"


def write_reproduction(reproduction: Reproduction, out: Path) -> Path:
    """Everything into the folder `out`; the page's path. The same reproduction gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in ("tables", "figures"):
        shutil.rmtree(out / folder, ignore_errors=True)
        (out / folder).mkdir()
    write_csv(table(cell.as_row() for cell in reproduction.cells), out / CELLS)
    write_csv(table(cell.recommended_row() for cell in reproduction.cells), out / OURS)
    by_part: dict[str, list[Cell]] = {}
    for cell in reproduction.cells:
        by_part.setdefault(cell.part, []).append(cell)
    sections = [_written("verdicts", *_verdicts(reproduction), out)]
    for part, cells in by_part.items():
        sections.append(_written(part, *_section(reproduction.parts[part], cells), out))
    page = out / PAGE
    provenance = Provenance(_facts(reproduction), (), (), ())
    html = render(Page(reproduction.title, f"{reproduction.about} {ABOUT}", sections, provenance))
    page.write_text(html, encoding="utf-8", errors="replace")
    return page


def _written(name: str, section: Section, tables: Mapping[str, list[TableRow]], out: Path) -> PageSection:
    """A section whose tables and figures now lie beside the page."""
    rounded = {}
    for part, rows in tables.items():
        rounded[part] = [
            {key: settled(value, DIGITS) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        ]
    return write_section(name, section, rounded, out)


def _verdicts(reproduction: Reproduction) -> tuple[Section, dict[str, list[TableRow]]]:
    """The first screen: how many cells match, differ and cannot be computed, by part, and why."""
    counts = tally(reproduction.cells)
    why = sorted(reasons(reproduction.cells), key=lambda row: ORDER[row["verdict"]])
    unmatched = sum(row["cells"] for row in why if row["verdict"] == "differs" and row["reason"] == UNEXPLAINED)
    explained = f"{unmatched:,} without a known reason" if unmatched else "each with a reason below, known or likely"
    headline = _sentence(
        "Of {computed} published numbers that can be computed from these files, {match} come out to one in a million "
        f"and {{differs}} differ ({explained}); {{missing}} more cannot be computed from what is here, and "
        "{unpublished} of ours have nothing published to stand against.",
        reproduction.cells,
        {"computed": "parts", "match": "parts"} | dict.fromkeys(("differs", "missing", "unpublished"), "reasons"),
    )
    parts = [
        {"part": part, "cells": sum(by_verdict.values()), **by_verdict, "what": reproduction.parts[part].description}
        for part, by_verdict in counts.items()
    ]
    columns = (
        Column("part", "part"),
        Column("cells", "numbers", "count"),
        *(Column(verdict, verdict, "count") for verdict in VERDICTS),
        Column("what", "what it is"),
    )
    blocks = [Table("parts", "Every published number, by part.", columns, parts), *_reasons(why)]
    return Section("Verdicts", ASKS, tuple(blocks), headline), {"parts": parts, "reasons": why}


def _reasons(why: Sequence[TableRow]) -> list[Table]:
    """Why numbers differ, and why others cannot be computed: a table each, where there are any."""
    columns = (
        Column("part", "part"),
        Column("verdict", "verdict"),
        Column("cells", "numbers", "count"),
        Column("largest", "largest relative difference"),
        Column("reason", "reason, or what is missing"),
    )
    rows = [row | {"largest": _text(row["largest_relative"], 2)} for row in why]
    caption = "Why numbers differ or cannot be computed. Numbers that"
    groups = {
        f"{caption} differ:": [row for row in rows if row["verdict"] == "differs"],
        f"{caption} cannot be computed:": [row for row in rows if row["verdict"] != "differs"],
    }
    return [Table("reasons", caption, columns, group) for caption, group in groups.items() if group]


def _section(part: PaperPart, cells: Sequence[Cell]) -> tuple[Section, dict[str, list[TableRow]]]:
    """One part: its figures, and its cells with what we would report, those that differ first."""
    names = ("match", "differs", "missing", "unpublished")
    sentence = _sentence(
        "{match} match, {differs} differ, {missing} cannot be computed, {unpublished} have nothing published to stand "
        "against.",
        cells,
        dict.fromkeys(names, "cells"),
    )
    columns = (
        Column("cell", "cell"),
        Column("published", "published", "text"),
        Column("ours", "ours", "text"),
        Column("verdict", "verdict"),
        Column("recommended", "we would report"),
        Column("n", "n", "text"),
        Column("note", "note"),
    )
    caption = f"{part.title}: published, ours, and what we would report; what differs comes first."
    rows = sorted((_shown(cell) for cell in cells), key=lambda row: ORDER[row["verdict"]])
    blocks: tuple[Block, ...] = (sentence, *part.figures, Table("cells", caption, columns, rows))
    whole = [
        cell.as_row() | {OF_TABLES.get(name, name): value for name, value in cell.recommended_row().items()}
        for cell in cells
    ]
    return Section(part.title, part.description, blocks), {"cells": whole, **part.tables}


def _sentence(text: str, cells: Sequence[Cell], tables: Mapping[str, str]) -> Paragraph:
    """Text with counts of the cells in the place of {match} and so on, each linked to the table named for it."""
    counts = Counter[str](cell.verdict for cell in cells)
    counts["computed"] = counts["match"] + counts["differs"]
    # of ours that have no published number the verdict is "not computable", for want of a comparison
    counts["unpublished"] = sum(cell.ours is not None and cell.verdict == "not computable" for cell in cells)
    counts["missing"] = counts["not computable"] - counts["unpublished"]
    parts = re.split(r"\{(\w+)\}", text)  # texts and names by turns
    return Paragraph(
        tuple(
            Number(f"{counts[part]:,}", tables[part]) if index % 2 else part for index, part in enumerate(parts) if part
        )
    )


def _shown(cell: Cell) -> dict[str, str]:
    """A cell as its line of the page's table."""
    ours = (cell.recommended or Recommended()).as_row()
    text = _text(ours["estimate"], 4)
    if ours["low"] is not None and ours["high"] is not None and ours["low"] == ours["low"]:
        text += f" [{_text(ours['low'], 3)}, {_text(ours['high'], 3)}]"
    if ours["noise_ceiling"] is not None:
        text += f", ceiling {_text(ours['noise_ceiling'], 3)}"
    if ours["q"] is not None:
        text += f", q {_text(ours['q'], 2)}"
    elif ours["p"] is not None and ours["p"] == ours["p"]:
        text += f", p {_text(ours['p'], 2)}"
    if ours["note"] and len(ours["note"]) <= NOTE:
        text += f" ({ours['note']})"
    return {
        "cell": cell.name,
        "published": _text(cell.published, 8),
        "ours": _text(cell.ours, 8),
        "verdict": cell.verdict,
        "recommended": text,
        "n": DASH if ours["n"] is None else f"{ours['n']:,} {ours['unit']}",
        "note": str(cell.as_row()["note"]),
    }


def _facts(reproduction: Reproduction) -> tuple[tuple[str, str], ...]:
    count = len(reproduction.problems)
    not_read = f"{count:,} files or lines, in the last section" if count else "nothing"
    return (
        ("Read", ", ".join(f"{count:,} {what}" for what, count in reproduction.counts.items())),
        ("Match", f"the same to {TOLERANCE:g}, relative; a published 0 is matched by anything below 1e-12"),
        ("Differs", f"the reason stands first in the note; '{UNEXPLAINED}' where none is known"),
        ("Ours", "by one formula for each kind of number, the same for the whole release; intervals are 95%"),
        ("Not read", not_read),
    )


def _text(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:.{digits}g}".replace("-", "\u2212")
