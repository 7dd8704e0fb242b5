"""Marks that several analyses draw with, on matplotlib axes handed in: intervals, bands, lines and dots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from spillover.analyses.rows import TableRow, TableRows, grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"base": "#5b6770", "bad": "#c2410c", "good": "#0f766e", "own": "#4338ca"}
MANY = 60  # lines, runs: as many as can be told apart in one figure
SERIES = ("#c2410c", "#0f766e", "#4338ca", "#a16207", "#be185d", "#0369a1", "#4d7c0f", "#6d28d9")


_OF_RUNS: ContextVar[Mapping[str, str]] = ContextVar("colours of runs")


@contextmanager
def arms_coloured(arms: Mapping[str, str]) -> Iterator[None]:
    """While figures are drawn in here, `coloured` gives a run or model its arm's colour; `arms`: arm by label.

    Later runs of an arm are lighter, so that they can be told apart.
    """
    seen: Counter[str] = Counter()
    colours = {}
    for label, arm in arms.items():
        colours[label] = _lighter(COLOURS[arm], min(0.25 * seen[arm], 0.6))
        seen[arm] += 1
    token = _OF_RUNS.set(colours)
    try:
        yield
    finally:
        _OF_RUNS.reset(token)


def _lighter(colour: str, share: float) -> str:
    """The colour mixed with so much white, 0 to 1."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def coloured(rows: Sequence[TableRow], by: str, first: int = 0) -> Iterator[tuple[str, TableRows, str]]:
    """Rows grouped by a column: its value, its rows, and its colour: its arm's, or one as far as `SERIES` goes."""
    of_runs = _OF_RUNS.get({})
    for index, (value, group) in enumerate(grouped(rows, by).items(), start=first):
        yield value, group, of_runs.get(str(value), SERIES[index % len(SERIES)])


def whiskers(
    axes: Axes,
    rows: Sequence[TableRow],
    labels: Sequence[str] | None,
    colours: Sequence[str],
    scale: float = 1.0,
    offset: float = 0.0,
    marker: str = "o",
    legend: str | None = None,
) -> None:
    """Estimates with their intervals, one a line, the first on top.

    Of more than `MANY` only the first and the last are drawn: more cannot be read, and the table has them all.
    """
    drawn = lines_drawn(len(rows))
    ends = scale * np.array([_ends(rows[index]) for index in drawn], dtype=float).reshape(-1, 3)
    places = np.arange(len(drawn)) + offset
    used = [colours[index] for index in drawn]
    axes.hlines(places, ends[:, 1], ends[:, 2], colors=used, linewidth=1.4)
    axes.scatter(ends[:, 0], places, marker=marker, c=used, s=18, linewidths=0, zorder=3, label=legend)
    if labels is not None:
        axes.set_yticks(range(len(drawn)), [labels[index] for index in drawn], fontsize=8 if len(drawn) < 30 else 5.5)
        if len(drawn) < len(rows):
            axes.axhline(len(drawn) / 2 - 0.5, color="0.6", linewidth=0.6, linestyle=":")
            note, place = f"{len(rows) - len(drawn)} between: see the table", axes.get_yaxis_transform()
            axes.text(0.99, len(drawn) / 2 - 0.6, note, fontsize=6.5, color="0.4", ha="right", transform=place)
        axes.set_ylim(len(drawn) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9", linewidth=0.6)


def lines_drawn(count: int) -> list[int]:
    """Which of so many lines `whiskers` draws: all, or the first and the last."""
    if count <= MANY:
        return list(range(count))
    return [*range(MANY // 2), *range(count - MANY // 2, count)]


def band(axes: Axes, x: str, rows: Sequence[TableRow], colour: str, label: str) -> None:
    """A line through estimates over column `x`, with their intervals as a band."""
    places = [row[x] for row in rows]
    ends = np.array([_ends(row) for row in rows], dtype=float).reshape(-1, 3)
    axes.fill_between(places, ends[:, 1], ends[:, 2], color=colour, alpha=0.15, linewidth=0)
    axes.plot(places, ends[:, 0], "-", color=colour, linewidth=1.5, label=label)
    grid(axes)


def plot(axes: Axes, rows: Sequence[TableRow], x: str, y: str, marks: str, colour: str, **style: Any) -> None:
    """Column `y` over column `x`, in matplotlib's shorthand for marks: "o-" is dots joined by a line."""
    axes.plot([row[x] for row in rows], [row[y] for row in rows], marks, color=colour, **style)


def lines(axes: Axes, rows: Sequence[TableRow], x: str, y: str, by: str, label: str = "", **style: Any) -> None:
    """A line with dots for each value of column `by`, named after column `label`; missing values are left out."""
    for _, group, colour in coloured(rows, by):
        measured = [row for row in group if row[y] is not None]
        plot(axes, measured, x, y, "o-", colour, markersize=3, label=group[0][label] if label else None, **style)


def dots(axes: Axes, rows: Sequence[TableRow], x: str, y: str, by: str, first: int = 0, **style: Any) -> None:
    """A cloud of dots coloured by a column, from colour number `first` on."""
    for label, group, colour in coloured(rows, by, first):
        plot(axes, group, x, y, "o", colour, label=label, **style)


def grid(axes: Axes) -> None:
    """Light lines at the ticks of both axes."""
    axes.grid(color="0.92", linewidth=0.6)


def legend(axes: Axes, size: float = 7, **style: Any) -> None:
    """The names of what was drawn, without a frame; `size` in points."""
    axes.legend(frameon=False, fontsize=size, **style)


def zero_line(axes: Axes) -> None:
    """A line across at 0."""
    axes.axhline(0, color="0.3", linewidth=0.8)


def _ends(row: TableRow) -> tuple[float, float, float]:
    value = np.nan if row["estimate"] is None else row["estimate"]
    low, high = (value if row[name] is None or not np.isfinite(row[name]) else row[name] for name in ("low", "high"))
    return value, low, high
