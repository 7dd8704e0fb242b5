"""Alternative minima: loss and alignment on the straight line between two end points' weights. Knows losses and scores.

docs/method.md, section 1: two runs at one loss may lie in one basin or in two. A line without a rise of the loss joins
one basin; the cosine between weight changes says how far the runs went the same way, layer by layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.minima_section import show_minima
from spillover.analyses.scores import read, refuse_unlike
from spillover.judgements.judgements import Judgements
from spillover.maths.bootstrap import mean, mean_of_groups
from spillover.maths.dynamics import barrier
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.shift import LowRank, weight_cosine
from spillover.organisms.interpolated import Interpolated, factors
from spillover.organisms.losses import HeldOutLosses
from spillover.organisms.organism import Checkpoint
from spillover.records import read_table
from spillover.store import BuildContext


class Minima(Analysis):
    """Whether a straight line between two trained models rises above both in loss, and what alignment does along it."""

    losses: tuple[HeldOutLosses, ...]  # of points between two checkpoints, both ends of every line among them
    scores: tuple[Judgements, ...] = ()  # of points on the same lines, as many as were asked
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _on_lines(self) -> Self:
        for one in self.losses:
            _between(one.model)
        for scored in self.scores:
            _between(scored.responses.model)
        for (start, end), points in self._lines().items():
            shares = sorted(_between(one.model).share for one in points)
            if shares[:1] != [0.0] or shares[-1:] != [1.0] or len(shares) < 3:
                raise ValueError(
                    f"the line from {start.label()} to {end.label()} needs losses at shares 0, 1 and between, "
                    f"got {shares}"
                )
            if len({one.data for one in points}) > 1:
                raise ValueError("the losses along one line are to be on the rows of one split")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        if self.scores:
            refuse_unlike(self.scores, self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        points: list[dict[str, Any]] = []
        barriers: list[dict[str, Any]] = []
        layers: list[dict[str, Any]] = []
        for (start, end), line in self._lines().items():
            ordered = sorted(line, key=lambda one: _between(one.model).share)
            shares = [_between(one.model).share for one in ordered]
            values = np.array([read_table(context.path(one) / "losses.parquet")["loss"].to_numpy() for one in ordered])
            name = {"line": _name(start, end), "start": start.label(), "end": end.label()}
            found = barrier(shares, values, resampling=resampling)
            whole, by_layer = _cosines(start, end, context)
            barriers.append(
                {
                    **name,
                    **found.height.as_row(),
                    "share": found.share,
                    "loss_start": float(values[0].mean()),
                    "loss_end": float(values[-1].mean()),
                    "cosine": whole,
                }
            )
            layers += [{**name, "layer": layer, "cosine": value} for layer, value in by_layer]
            for share, row, excess in zip(shares, values, found.excess, strict=True):
                level = mean(row, resampling=resampling).as_row()
                points.append({**name, "what": "loss", "share": share, "excess": float(excess), **level})
        points += self._scored(context)
        for row, q in zip(barriers, benjamini_hochberg([row["p"] for row in barriers]), strict=True):
            row["q"] = float(q)
        return AnalysisResult({"points": points, "barriers": barriers, "layers": layers}, {"metric": self.metric})

    def show(self, result: AnalysisResult) -> Section:
        return show_minima(result)

    def _lines(self) -> dict[tuple[Checkpoint, Checkpoint], list[HeldOutLosses]]:
        lines: dict[tuple[Checkpoint, Checkpoint], list[HeldOutLosses]] = {}
        for one in self.losses:
            point = _between(one.model)
            lines.setdefault((point.start, point.end), []).append(one)
        return lines

    def _scored(self, context: BuildContext) -> Iterator[dict[str, Any]]:
        """Mean score of every point that was asked."""
        resampling = Resampling(self.draws, bounds=(0.0, 100.0))
        for one in sorted(self.scores, key=lambda one: _between(one.responses.model).share):
            point = _between(one.responses.model)
            scores = read(one, context.store)
            level = mean_of_groups(
                scores[self.metric], scores["question"], scores["family"], resampling=resampling
            ).as_row()
            name = {
                "line": _name(point.start, point.end),
                "start": point.start.label(),
                "end": point.end.label(),
            }
            yield {**name, "what": self.metric, "share": point.share, "excess": None, **level}


def _between(model: Any) -> Interpolated:
    if not isinstance(model, Interpolated):
        raise ValueError(f"minima are looked for on lines between checkpoints, got {model.label()}")
    return model


def _name(start: Checkpoint, end: Checkpoint) -> str:
    return f"{start.label()} \u2192 {end.label()}"


def _cosines(start: Checkpoint, end: Checkpoint, context: BuildContext) -> tuple[float, list[tuple[int, float]]]:
    """Cosine of the two weight changes over all modules, and over those of each layer."""
    left, right = (factors(one.folder(context.store)) for one in (start, end))
    by_layer: dict[int, tuple[list[LowRank], list[LowRank]]] = {}
    for name in left:
        found = re.search(r"\.layers\.(\d+)\.", name)
        if found:
            sides = by_layer.setdefault(int(found.group(1)), ([], []))
            sides[0].append(left[name])
            sides[1].append(right[name])
    whole = weight_cosine(list(left.values()), [right[name] for name in left])
    return whole, [(layer, weight_cosine(*sides)) for layer, sides in sorted(by_layer.items())]
