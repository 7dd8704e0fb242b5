"""How an analysis shows itself: text with numbers that name their table, figures, tables. Knows no HTML and no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SPACE = "\u00a0"  # keeps an interval on one line
Style = Literal["points", "r", "percent", "count", "p", "nats", "text"]


@dataclass(frozen=True)
class Number:
    """A number in running text; the page links it to the table it came from (the analysis' own, by name)."""

    text: str
    table: str


@dataclass(frozen=True)
class Paragraph:
    """Running text: strings and numbers."""

    parts: tuple[str | Number, ...]


@dataclass(frozen=True)
class Figure:
    """A figure drawn on demand; `draw` gets an empty matplotlib Figure of `size` inches."""

    name: str
    caption: str
    draw: Callable[[Any], None]
    table: str  # where its numbers stand
    size: tuple[float, float] = (8.0, 3.6)


@dataclass(frozen=True)
class Column:
    """A column of a table as shown; with `interval`, the row's low and high follow in brackets."""

    name: str
    heading: str
    style: Style = "text"
    interval: bool = False


@dataclass(frozen=True)
class Table:
    """Rows as shown; the whole table stands beside the page as CSV."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ShownAnswer:
    """One model's answer to a question, with its scores: hostile text, to be escaped."""

    model: str
    text: str
    finish_reason: str
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class AnswersBlock:
    """Answers of several models to one question, side by side."""

    question: str
    note: str
    answers: tuple[ShownAnswer, ...]


Block = Paragraph | Figure | Table | AnswersBlock


@dataclass(frozen=True)
class Section:
    """What an analysis shows: a heading, what it asks, and what was found."""

    title: str
    asks: str
    blocks: tuple[Block, ...]
    headline: Paragraph | None = None  # one sentence for the top of the page


def value_text(value: Any, style: Style) -> str:
    """A value as text; a missing one is an en dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\u2013"
    if style == "text" or isinstance(value, str):
        return str(value)
    if style == "count":
        return f"{value:,.0f}"
    if math.isinf(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    if style == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    text = {"points": f"{value:.1f}", "r": f"{value:.2f}", "nats": f"{value:.3f}", "percent": f"{100 * value:.1f}%"}[
        style
    ]
    bare = text.rstrip("%")
    return text.replace("-", "\u2212") if float(bare) != 0 else text.lstrip("-")


def interval_text(row: Mapping[str, Any], style: Style) -> str:
    """An estimate with its ends: `12.3 [9.8, 14.9]`; the bare estimate where there is no interval."""
    value = value_text(row.get("estimate"), style)
    if row.get("low") is None or row.get("high") is None:
        return value
    return f"{value}{SPACE}[{value_text(row['low'], style)},{SPACE}{value_text(row['high'], style)}]"


def number(row: Mapping[str, Any], table: str, style: Style = "points") -> Number:
    """An estimate's row as a number that names its table."""
    return Number(interval_text(row, style), table)


def row_where(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The single row with these values; a row of nothing where there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in wanted.items()):
            return row
    return {"estimate": None, "low": None, "high": None, "n": 0, **wanted}
