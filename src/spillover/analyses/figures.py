"""Marks that several analyses draw with, on matplotlib axes handed in. Knows rows with estimate, low and high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = {"base": "#5b6770", "bad": "#c2410c", "good": "#0f766e"}
MANY = 60  # lines, runs: as many as can be told apart in one figure
SERIES = ("#c2410c", "#0f766e", "#4338ca", "#a16207", "#be185d", "#0369a1", "#4d7c0f", "#6d28d9")


def whiskers(
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
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
    kept = shown_of(len(rows))
    ends = scale * np.array([_ends(rows[index]) for index in kept], dtype=float).reshape(-1, 3)
    places = np.arange(len(kept)) + offset
    used = [colours[index] for index in kept]
    axes.hlines(places, ends[:, 1], ends[:, 2], colors=used, linewidth=1.4)
    axes.scatter(ends[:, 0], places, marker=marker, c=used, s=18, linewidths=0, zorder=3, label=legend)
    if labels is not None:
        axes.set_yticks(range(len(kept)), [labels[index] for index in kept], fontsize=8 if len(kept) < 30 else 5.5)
        if len(kept) < len(rows):
            axes.axhline(len(kept) / 2 - 0.5, color="0.6", linewidth=0.6, linestyle=":")
            note, place = f"{len(rows) - len(kept)} between: see the table", axes.get_yaxis_transform()
            axes.text(0.99, len(kept) / 2 - 0.6, note, fontsize=6.5, color="0.4", ha="right", transform=place)
        axes.set_ylim(len(kept) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9", linewidth=0.6)


def shown_of(count: int) -> list[int]:
    """Which of so many lines are drawn: all, or the first and the last."""
    if count <= MANY:
        return list(range(count))
    return [*range(MANY // 2), *range(count - MANY // 2, count)]


def forest(axes: Any, rows: Sequence[Mapping[str, Any]], labels: Sequence[str], colours: Sequence[str]) -> None:
    """`whiskers` with small labels and a line at 0: many differences at once."""
    whiskers(axes, rows, labels, colours)
    axes.axvline(0.0, color="0.3", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=6.5)


def band(
    axes: Any, x: Sequence[float], rows: Sequence[Mapping[str, Any]], colour: str, label: str, dash: str = "-"
) -> None:
    """A line through estimates with their intervals as a band."""
    ends = np.array([_ends(row) for row in rows], dtype=float).reshape(-1, 3)
    axes.fill_between(x, ends[:, 1], ends[:, 2], color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, ends[:, 0], dash, color=colour, linewidth=1.5, label=label)
    axes.grid(color="0.92", linewidth=0.6)


def _ends(row: Mapping[str, Any]) -> tuple[float, float, float]:
    value = np.nan if row["estimate"] is None else row["estimate"]
    low, high = (value if row[name] is None or not np.isfinite(row[name]) else row[name] for name in ("low", "high"))
    return value, low, high
