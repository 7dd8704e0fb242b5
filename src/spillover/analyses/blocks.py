"""What a section of a report is made of: text with numbers that name their table, figures, tables, answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Literal, cast

from spillover.analyses.rows import TableRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SPACE = "\u00a0"  # keeps an interval on one line
Style = Literal["points", "r", "percent", "count", "p", "nats", "text"]


@dataclass(frozen=True)
class Number:
    """A number in running text; the page links it to the table it came from (the analysis' own, by name)."""

    text: str
    table: str


@dataclass(frozen=True)
class Paragraph:
    """Running text: strings and numbers. `paragraph` makes one from a sentence with gaps."""

    parts: tuple[str | Number, ...]


@dataclass(frozen=True)
class Figure:
    """A figure drawn on demand; `draw` gets an empty matplotlib Figure of `size` inches."""

    name: str
    caption: str
    draw: Callable[[Canvas], None]
    table: str  # where its numbers stand
    size: tuple[float, float] = (8.0, 3.6)


@dataclass(frozen=True)
class Column:
    """A column of a table as shown; with `interval`, the ends of the row's estimate follow in brackets."""

    name: str
    heading: str
    style: Style = "text"
    interval: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its cells are single numbers, which stand right."""
        return self.style != "text" and not self.interval

    def cell(self, row: TableRow) -> str:
        """The row's value as text."""
        return interval_text(row, self.style, self.name) if self.interval else value_text(row[self.name], self.style)


def columns(style: Style, **headings: str) -> tuple[Column, ...]:
    """Several columns of one style: `name="heading"`."""
    return tuple(Column(name, heading, style) for name, heading in headings.items())


@dataclass(frozen=True)
class Table:
    """Rows as shown; the whole table stands beside the page as CSV. The page folds it away unless `open`.

    `source`: the analysis' table that the rows are of, where that is another than `name`.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[TableRow]
    open: bool = False
    source: str = ""


@dataclass(frozen=True)
class ShownAnswer:
    """One model's answer to a question, with its scores: hostile text, to be escaped."""

    model: str
    text: str
    finish_reason: str
    scores: Mapping[str, float | None]
    tone: str = ""  # the class of its model's colour on the page


@dataclass(frozen=True)
class AnswersSideBySide:
    """Answers of several models to one question."""

    question: str
    note: str
    answers: tuple[ShownAnswer, ...]


@dataclass(frozen=True)
class ShadedAnswer:
    """One answer whose pieces are shaded by a value: hostile text, to be escaped.

    pieces: text and value of each piece in turn; put together the texts are the answer. full: the value, above 0, from
    which on a piece has the strongest shade; below -full likewise on the other side.
    """

    question: str
    note: str
    model: str
    pieces: tuple[tuple[str, float], ...]
    full: float

    def shades(self) -> list[tuple[str, int]]:
        """Each piece with its shade, -4 (far less) to 4 (far more); 0 for a value that is missing."""
        return [
            (text, 0 if math.isnan(value) else round(4 * max(-1.0, min(1.0, value / self.full))))
            for text, value in self.pieces
        ]


Block = Paragraph | Figure | Table | AnswersSideBySide | ShadedAnswer


@dataclass(frozen=True)
class Section:
    """What an analysis shows: a heading, what it asks, and the answer."""

    title: str
    asks: str
    blocks: tuple[Block, ...]
    headline: Paragraph | None = None  # one sentence for the top of the page


def paragraph(
    sentence: str, row: TableRow | None = None, table: str = "", **values: str | int | Number | Sequence[str | Number]
) -> Paragraph:
    """A sentence whose gaps are filled from a row of `table`, or by `values`: texts, numbers, or runs of both.

    `{estimate:r}` is the row's estimate in style r, with its ends where it has any, linked to the table; `{line}` is
    the row's text, or the value of that name. What fills a gap is never read as a sentence with gaps itself: names of
    models may hold braces.
    """
    parts: list[str | Number] = []
    for text, name, style, _ in Formatter().parse(sentence):
        parts.append(text)
        if style:
            parts.append(number(row or {}, table, cast("Style", style), str(name)))
        elif name is not None:
            value = values[name] if name in values else (row or {})[name]
            parts += [value] if isinstance(value, str | Number) else [str(value)] if isinstance(value, int) else value
    return Paragraph(tuple(part for part in parts if part != ""))


def value_text(value: float | str | None, style: Style) -> str:
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


def interval_text(row: TableRow, style: Style, name: str = "estimate") -> str:
    """An estimate with its ends: `12.3 [9.8, 14.9]`; the bare estimate where there is no interval.

    The ends of column `estimate` stand in `low` and `high`, those of any other `name` in `name_low` and `name_high`.
    """
    value = value_text(row.get(name), style)
    low, high = (row.get(end if name == "estimate" else f"{name}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        return value
    return f"{value}{SPACE}[{value_text(low, style)},{SPACE}{value_text(high, style)}]"


def number(row: TableRow, table: str, style: Style = "points", name: str = "estimate") -> Number:
    """A row's estimate, with its ends where it has any, as a number that names its table."""
    return Number(interval_text(row, style, name), table)
