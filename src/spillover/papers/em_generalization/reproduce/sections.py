"""How a reproduction shows itself, part by part. Knows its cells and tables; computes nothing, knows no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillover.analyses.blocks import Block, Column, Number, Paragraph, Section, Table
from spillover.papers.em_generalization.reproduce.cells import VERDICTS, Cell, reasons, tally
from spillover.papers.em_generalization.reproduce.figures import Rows, figures_of

WORDS = {
    "dynamics": ("Training dynamics", "Loss against score over the schedule runs: max_diff, r, p, middles."),
    "runs": ("One line a run", "Scores by answer format, losses and rates in the published table of runs."),
    "prior": ("Before and after", "Each question's score before and after narrow training, model by model."),
    "rates": ("Shares of comparisons", "How many of those comparisons have p below a bound, over all models."),
    "prediction": (
        "Predicting from activations",
        "What of the tables follows from their own columns.",
    ),
    "geometry": (
        "Activation shifts",
        "Summaries from the per-prompt rows; prompt overlap and shift similarity.",
    ),
    "across_k": ("Shifts by number of axes", "The published table over k, as far as per-prompt rows allow."),
    "summary": ("Scores of single runs", "Means and SDs by question and overall, from the answers themselves."),
    "em_rate": ("EM rates", "Shares of answers with aligned < 30 and coherent > 50, strict and conditional."),
    "files": ("Files that cannot be read", "Each is left out, and everything that does not hang on it stands."),
}
ORDER = {verdict: at for at, verdict in enumerate(("differs", "match", "not computable"))}
NOTE = 90  # characters of a note that still go into the table
COLUMNS = (
    Column("cell", "cell"),
    Column("published_text", "published", "text"),
    Column("ours_text", "ours", "text"),
    Column("verdict", "verdict"),
    Column("beside_text", "we would report"),
    Column("n_text", "n", "text"),
    Column("note", "note"),
)


@dataclass(frozen=True)
class Shown:
    """A section with the name and the rows of its tables as they go to CSV."""

    name: str
    section: Section
    tables: Mapping[str, Rows]


def overview(cells: Sequence[Cell]) -> Shown:
    """The first screen: how many cells match, differ and cannot be computed, by part, and why."""
    counts, why = tally(cells), reasons(cells)
    total = {verdict: sum(row[verdict] for row in counts) for verdict in VERDICTS}
    compared, alone = total["match"] + total["differs"], _alone(cells)
    headline = Paragraph(
        (
            "Of ",
            Number(f"{compared:,}", "parts"),
            " published numbers that can be computed from these files, ",
            Number(f"{total['match']:,}", "parts"),
            " come out to one in a million and ",
            Number(f"{total['differs']:,}", "reasons"),
            f" differ ({_explained(why)}); ",
            Number(f"{total['not computable'] - alone:,}", "reasons"),
            " more cannot be computed from what is here, and ",
            Number(f"{alone:,}", "reasons"),
            " of ours have nothing published to stand against.",
        )
    )
    for row in counts:
        row["what"] = WORDS.get(row["part"], (row["part"], ""))[1]
    by_part = Table(
        "parts",
        "Every published number, by part.",
        (
            Column("part", "part"),
            Column("cells", "numbers", "count"),
            *(Column(verdict, verdict, "count") for verdict in VERDICTS),
            Column("what", "what it is"),
        ),
        counts,
    )
    caption = "Why numbers differ or cannot be computed."
    columns = (
        Column("part", "part"),
        Column("verdict", "verdict"),
        Column("cells", "numbers", "count"),
        Column("largest", "largest relative difference"),
        Column("reason", "reason, or what is missing"),
    )
    rows = sorted(why, key=lambda row: ORDER[row["verdict"]])
    shown = [row | {"largest": _text(row["largest_relative"], 2)} for row in rows]
    blocks = (by_part, *_in_two(shown, caption, columns))
    return Shown("verdicts", Section("Verdicts", _ASKS, blocks, headline), {"parts": counts, "reasons": rows})


_ASKS = "Do the paper's numbers come out of its own released files, and what would we report in their place?"


def _in_two(rows: Rows, caption: str, columns: tuple[Column, ...]) -> tuple[Block, ...]:
    """What differs in full view, what is missing folded if long."""
    differs = [row for row in rows if row["verdict"] == "differs"]
    missing = [row for row in rows if row["verdict"] != "differs"]
    found: list[Block] = []
    if differs:
        found.append(Table("reasons", f"{caption} Numbers that differ:", columns, differs))
    if missing:
        found.append(Table("reasons", f"{caption} Numbers that cannot be computed:", columns, missing))
    return tuple(found)


def _alone(cells: Sequence[Cell]) -> int:
    """How many of ours have no published number; their verdict is "not computable", for want of a comparison."""
    return sum(cell.ours is not None and cell.verdict == "not computable" for cell in cells)


def _explained(why: Sequence[Mapping[str, Any]]) -> str:
    odd = sum(row["cells"] for row in why if row["verdict"] == "differs" and row["reason"] == "unexplained")
    return "each with a reason below, known or likely" if not odd else f"{odd:,} without a known reason"


def section_of(part: str, cells: Sequence[Cell], tables: Mapping[str, Rows]) -> Shown:
    """One part: its figure, and its cells with what we would report, those that differ first."""
    title, asks = WORDS.get(part, (part, ""))
    whole = [cell.row() | _beside(cell) for cell in cells]
    rows = sorted(whole, key=lambda row: ORDER[row["verdict"]])
    drawn, drawn_tables = figures_of(part, tables)
    counted = {verdict: sum(cell.verdict == verdict for cell in cells) for verdict in VERDICTS}
    sentence = Paragraph(
        (
            Number(f"{counted['match']:,}", "cells"),
            " match, ",
            Number(f"{counted['differs']:,}", "cells"),
            " differ, ",
            Number(f"{counted['not computable'] - _alone(cells):,}", "cells"),
            " cannot be computed, ",
            Number(f"{_alone(cells):,}", "cells"),
            " have nothing published to stand against.",
        )
    )
    table = Table(
        "cells", f"{title}: published, ours, and what we would report; what differs comes first.", COLUMNS, rows
    )
    wide = [{key: value for key, value in row.items() if not key.endswith("_text")} for row in whole]
    return Shown(part, Section(title, asks, (sentence, *drawn, table)), {"cells": wide} | dict(drawn_tables))


def _beside(cell: Cell) -> dict[str, Any]:
    ours = cell.beside_row()
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
        "published_text": _text(cell.published, 8),
        "ours_text": _text(cell.ours, 8),
        "beside_text": text,
        "n_text": "\u2013" if ours["n"] is None else f"{ours['n']:,} {ours['unit']}",
        "we_report": ours["estimate"],
        "we_report_low": ours["low"],
        "we_report_high": ours["high"],
        "n": ours["n"],
        "unit": ours["unit"],
        "noise_ceiling": ours["noise_ceiling"],
        "p": ours["p"],
        "q": ours["q"],
        "we_report_note": ours["note"],
    }


def _text(value: float | None, digits: int) -> str:
    if value is None:
        return "\u2013"
    return f"{value:.{digits}g}".replace("-", "\u2212")
