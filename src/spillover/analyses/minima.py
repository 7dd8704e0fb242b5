"""Alternative minima: loss and alignment on the straight line between the weights of two trained models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Paragraph, Section, Table, columns, paragraph
from spillover.analyses.figures import band, coloured, grid, legend, lines, zero_line
from spillover.analyses.rows import TableRow, TableRows, add_q_values, rows_where
from spillover.analyses.scores import read_scores, refuse_unlike_scores
from spillover.judgements.judgements import Judgements
from spillover.maths.bootstrap import mean
from spillover.maths.dynamics import barrier
from spillover.maths.estimate import Resampling
from spillover.maths.shift import LowRank, weight_cosine
from spillover.models.base import Model
from spillover.organisms.fine_tuned import FineTuned
from spillover.organisms.interpolated import Interpolated, factors
from spillover.organisms.losses import HeldOutLosses
from spillover.records import read_table
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Line = tuple[FineTuned, FineTuned]  # start and end


class Minima(Analysis):
    """Whether a straight line between two trained models rises above both in loss, and what alignment does along it.

    Two runs at one loss may lie in one basin of the loss or in two: a line without a rise joins one basin. Estimates,
    for each line, the barrier: the largest rise of the held-out loss (nats per token) above the straight line between
    its ends, with a 95% basic bootstrap interval over held-out rows and the p of no rise (q: Benjamini-Hochberg over
    the lines); the mean score (points) of the models on it that were asked; and the cosine between the two weight
    changes, in all and by layer (docs/method.md, section 1).
    """

    losses: tuple[HeldOutLosses, ...]  # of points between two checkpoints, both ends of every line among them
    scores: tuple[Judgements, ...] = ()  # of points on the same lines, as many as were asked
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _on_lines(self) -> Self:
        for scored in self.scores:
            _point(scored.responses.model)
        for (start, end), line in self._lines().items():
            shares = [_point(losses.model).share for losses in line]
            if shares[:1] != [0.0] or shares[-1:] != [1.0] or len(shares) < 3:
                raise ValueError(
                    f"the line from {start.label()} to {end.label()} needs losses at shares 0, 1 and between, got "
                    f"{shares}"
                )
            if len({losses.data for losses in line}) > 1:
                raise ValueError("the losses along one line are to be on the rows of one split")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        if self.scores:
            refuse_unlike_scores(self.scores, self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        tables: dict[str, TableRows] = {"points": [], "barriers": [], "layers": []}
        for (start, end), line in self._lines().items():
            shares = [_point(losses.model).share for losses in line]
            values = np.array(
                [read_table(context.path(losses) / "losses.parquet")["loss"].to_numpy() for losses in line]
            )
            name = _names((start, end))
            rise = barrier(shares, values, resampling=resampling)
            whole, by_layer = _cosines(start, end, context)
            ends = {"loss_start": float(values[0].mean()), "loss_end": float(values[-1].mean())}
            tables["barriers"].append({**name, **rise.height.as_row(), "share": rise.share, **ends, "cosine": whole})
            tables["layers"] += [{**name, "layer": layer, "cosine": value} for layer, value in by_layer]
            for share, row, excess in zip(shares, values, rise.excess, strict=True):
                level = mean(row, resampling=resampling).as_row()
                tables["points"].append({**name, "what": "loss", "share": share, "excess": float(excess), **level})
        tables["points"] += self._scored(context, resampling)
        add_q_values(tables["barriers"])
        return AnalysisResult(tables, {"metric": self.metric})

    def show(self, result: AnalysisResult) -> Section:
        rows, metric = result.tables["barriers"], result.facts["metric"]
        points, layers = result.tables["points"], result.tables["layers"]
        return Section(
            "Alternative minima: the line between two trained models",
            "Do two runs end in one basin of the loss, and does alignment change between them?",
            (
                *(_sentence(row) for row in rows),
                Figure(
                    "lines",
                    f"Held-out loss and mean {metric} at points on the straight line between two models' weights, "
                    "with 95% intervals (loss: over held-out rows, whose differences among themselves cancel in the "
                    "barrier).",
                    lambda canvas: _draw_lines(canvas, points, metric),
                    "points",
                    (8, 3.2),
                ),
                Figure(
                    "layers",
                    "Cosine between the two weight changes, layer by layer; 0 is what unrelated changes have.",
                    lambda canvas: _draw_layers(canvas, layers),
                    "layers",
                    (8, 2.6),
                ),
                Table(
                    "barriers",
                    "Barrier: the largest rise of the loss above the straight line between its ends, nats per token, "
                    "with the p of no rise (Benjamini-Hochberg q over the lines). At or below 0 the ends share a "
                    "basin as far as this line shows.",
                    (
                        *(Column("line", "line"), Column("estimate", "barrier [95%]", "nats", interval=True)),
                        *(*columns("p", p="p", q="q"), Column("share", "at share", "r")),
                        *columns("nats", loss_start="loss at start", loss_end="loss at end"),
                        *(Column("cosine", "cosine", "r"), Column("n", "rows", "count")),
                    ),
                    rows,
                ),
            ),
        )

    def _lines(self) -> dict[Line, list[HeldOutLosses]]:
        """The losses on each line, from its start to its end."""
        lines: dict[Line, list[HeldOutLosses]] = {}
        for losses in self.losses:
            point = _point(losses.model)
            lines.setdefault((point.start, point.end), []).append(losses)
        return {ends: sorted(line, key=lambda losses: _point(losses.model).share) for ends, line in lines.items()}

    def _scored(self, context: BuildContext, resampling: Resampling) -> Iterator[TableRow]:
        """Mean score of every point that was asked."""
        for scored in sorted(self.scores, key=lambda scored: _point(scored.responses.model).share):
            point = _point(scored.responses.model)
            level = read_scores(scored, context.store).mean(self.metric, resampling).as_row()
            place = {"what": self.metric, "share": point.share, "excess": None}
            yield {**_names((point.start, point.end)), **place, **level}


def _point(model: Model) -> Interpolated:
    if not isinstance(model, Interpolated):
        raise ValueError(f"minima are looked for on lines between checkpoints, got {model.label()}")
    return model


def _names(line: Line) -> TableRow:
    start, end = (checkpoint.label() for checkpoint in line)
    return {"line": f"{start} \u2192 {end}", "start": start, "end": end}


def _cosines(start: FineTuned, end: FineTuned, context: BuildContext) -> tuple[float, list[tuple[int, float]]]:
    """Cosine of the two weight changes over all modules, and over those of each layer."""
    left, right = (factors(side.folder(context.store)) for side in (start, end))
    by_layer: dict[int, tuple[list[LowRank], list[LowRank]]] = {}
    for name in left:
        if layer := re.search(r"\.layers\.(\d+)\.", name):
            sides = by_layer.setdefault(int(layer[1]), ([], []))
            sides[0].append(left[name])
            sides[1].append(right[name])
    whole = weight_cosine(list(left.values()), [right[name] for name in left])
    return whole, [(layer, weight_cosine(*sides)) for layer, sides in sorted(by_layer.items())]


def _sentence(row: TableRow) -> Paragraph:
    return paragraph(
        "{line}: the loss rises at most {estimate:nats} nats above the line between its ends (p of no rise {p:p}); "
        "the weight changes have cosine {cosine:r}.",
        row,
        "barriers",
    )


def _draw_lines(canvas: Canvas, points: TableRows, metric: str) -> None:
    panels = canvas.subplots(1, 2)
    labels = {"loss": "held-out loss, nats", metric: f"mean {metric}, points"}
    for panel, (what, label) in zip(panels, labels.items(), strict=True):
        for line, group, colour in coloured(points, "line"):
            if along := rows_where(group, what=what):
                band(panel, "share", along, colour, line)
        panel.set(xlabel="share of the way", ylabel=label)
    legend(panels[0], 6)


def _draw_layers(canvas: Canvas, rows: TableRows) -> None:
    panel = canvas.subplots()
    lines(panel, rows, "layer", "cosine", by="line", label="line", linewidth=1)
    zero_line(panel)
    panel.set(xlabel="layer", ylabel="cosine")
    legend(panel, 6)
    grid(panel)
