"""How lines between models show themselves. Knows the tables of `minima`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, interval_text, value_text
from spillover.analyses.figures import SERIES, band


def show_minima(result: AnalysisResult) -> Section:
    """Barriers line by line, loss and score along each, and the cosines by layer."""
    rows, metric = result.tables["barriers"], result.facts["metric"]
    points, layers = result.tables["points"], result.tables["layers"]
    return Section(
        "Alternative minima: the line between two trained models",
        "Do two runs end in one basin of the loss, and does alignment change between them?",
        (
            *(_sentence(row) for row in rows),
            Figure(
                "lines",
                f"Held-out loss and mean {metric} at points on the straight line between two models' weights, with 95% "
                "intervals (loss: over held-out rows, whose differences among themselves cancel in the barrier).",
                lambda figure: _draw_lines(figure, points, metric),
                "points",
                (8, 3.2),
            ),
            Figure(
                "layers",
                "Cosine between the two weight changes, layer by layer; 0 is what unrelated changes have.",
                lambda figure: _draw_layers(figure, layers),
                "layers",
                (8, 2.6),
            ),
            Table(
                "barriers",
                "Barrier: the largest rise of the loss above the straight line between its ends, nats per token, with the p "
                "of no rise (Benjamini-Hochberg q over the lines). At or below 0 the ends share a basin as far as this line "
                "shows.",
                (
                    Column("line", "line"),
                    Column("shown", "barrier [95%]"),
                    Column("p", "p", "p"),
                    Column("q", "q", "p"),
                    Column("share", "at share", "r"),
                    Column("loss_start", "loss at start", "nats"),
                    Column("loss_end", "loss at end", "nats"),
                    Column("cosine", "cosine", "r"),
                    Column("n", "rows", "count"),
                ),
                [row | {"shown": interval_text(row, "nats")} for row in rows],
            ),
        ),
    )


def _sentence(row: Any) -> Paragraph:
    return Paragraph(
        (
            f"{row['line']}: the loss rises at most ",
            Number(interval_text(row, "nats"), "barriers"),
            " nats above the line between its ends (p of no rise ",
            Number(value_text(row["p"], "p"), "barriers"),
            "); the weight changes have cosine ",
            Number(value_text(row["cosine"], "r"), "barriers"),
            ".",
        )
    )


def _draw_lines(figure: Any, points: list[Any], metric: str) -> None:
    panels = figure.subplots(1, 2)
    for panel, what, name in zip(
        panels, ("loss", metric), ("held-out loss, nats", f"mean {metric}, points"), strict=True
    ):
        for index, line in enumerate(dict.fromkeys(row["line"] for row in points)):
            mine = [row for row in points if row["line"] == line and row["what"] == what]
            if mine:
                band(panel, [row["share"] for row in mine], mine, SERIES[index % len(SERIES)], line)
        panel.set_xlabel("share of the way")
        panel.set_ylabel(name)
    panels[0].legend(frameon=False, fontsize=6)


def _draw_layers(figure: Any, rows: list[Any]) -> None:
    panel = figure.subplots()
    for index, line in enumerate(dict.fromkeys(row["line"] for row in rows)):
        mine = [row for row in rows if row["line"] == line]
        x, y = [row["layer"] for row in mine], [row["cosine"] for row in mine]
        panel.plot(x, y, "o-", markersize=3, color=SERIES[index % len(SERIES)], label=line, linewidth=1)
    panel.axhline(0, color="0.3", linewidth=0.8)
    panel.set_xlabel("layer")
    panel.set_ylabel("cosine")
    panel.legend(frameon=False, fontsize=6)
    panel.grid(color="0.92", linewidth=0.6)
