"""Drift along trait directions while a model is trained, with an alarm calibrated on sound runs. No answers needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations
from spillover.activations.capture import Pooling
from spillover.activations.direction import Direction, read_direction
from spillover.activations.sites import layer_site
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, columns, value_text
from spillover.analyses.figures import SERIES, legend, plot, zero_line
from spillover.analyses.rows import TableRow, TableRows, grouped, rows_where
from spillover.maths.alarm import alarm_limit
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean
from spillover.maths.estimate import Resampling
from spillover.maths.shift import deltas
from spillover.organisms.organism import Checkpoint
from spillover.records import read_table
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

RESAMPLING = Resampling(999)


@dataclass(frozen=True, eq=False)
class _Start:
    """A direction, its vector (d_model,), and the activations before training (prompts, d_model) at its layer."""

    direction: Direction
    vector: Floats
    pooling: Pooling
    before: np.ndarray

    def drift(self, activations: Activations, arm: str, families: Sequence[str], folder: Path) -> TableRow:
        """The row of one checkpoint, whose activations lie in `folder`."""
        assert isinstance(activations.model, Checkpoint)
        delta = deltas(self.before, read_activations(folder, layer_site(self.direction.layer), self.pooling))
        along = delta @ self.vector / (self.vector @ self.vector)
        return {
            "arm": arm,
            "run": activations.model.organism.label(),
            "run_id": activations.model.organism.fingerprint,
            "step": activations.model.step,
            "direction": self.direction.label(),
            "pooling": self.pooling,
            **mean(along, families, resampling=RESAMPLING).as_row(),
        }


class Drift(Analysis):
    """How far checkpoints have moved along trait directions on fixed prompts, and which runs raise an alarm.

    A checkpoint's drift along a direction v is the mean over prompts of (a_checkpoint - a_before) . v / |v|^2: 1 is a
    move as long as the direction itself (for a contrast, from the trait's opposite to the trait), 0 none. Intervals are
    95%, percentile-t over families of prompts. The alarm of a direction is a limit that one more run like the controls
    passes, at its furthest checkpoint, with a chance of `false_alarms` over all directions together (an upper
    prediction limit, `spillover.maths.alarm`); it needs two control runs at least, and is wide with few. After arXiv
    2606.07631; the limit is ours.
    """

    before: Activations  # of the model that all runs start from
    checkpoints: tuple[Activations, ...]  # of the runs that are watched: same prompts, one or more checkpoints a run
    controls: tuple[Activations, ...] = ()  # of runs that are known to be sound, as good controls are
    directions: tuple[Direction, ...]
    false_alarms: float = Field(default=0.05, gt=0, lt=1)

    @model_validator(mode="after")
    def _fixed_prompts(self) -> Self:
        for activations in (*self.checkpoints, *self.controls):
            if not isinstance(activations.model, Checkpoint):
                raise ValueError(f"{activations.model.label()} is no checkpoint of a training")
            if activations.prompts != self.before.prompts:
                raise ValueError(
                    f"{activations.summary()}: other prompts than those before; a drift is on fixed prompts"
                )
        if not self.directions:
            raise ValueError("no direction is given to watch")
        watched, sound = ({_organism(each) for each in side} for side in (self.checkpoints, self.controls))
        if watched & sound:
            raise ValueError("a run is watched and a control at once: its alarm would be calibrated on itself")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        prompts = read_table(context.path(self.before) / "prompts.parquet").to_pylist()
        families = [row["family"] for row in prompts]
        starts = [self._start(direction, context) for direction in self.directions]
        rows = [
            start.drift(activations, arm, families, context.path(activations))
            for arm, side in (("watched", self.checkpoints), ("control", self.controls))
            for activations in side
            for start in starts
        ]
        return AnalysisResult({"drift": rows, "alarms": self._alarms(rows)}, {"false_alarms": self.false_alarms})

    def _start(self, direction: Direction, context: BuildContext) -> _Start:
        """What every run's drift along a direction is measured from."""
        pooling = direction.pooling
        if pooling not in self.before.poolings:
            pooling = self.before.poolings[0]  # a direction of answers, watched on prompts alone
        before = read_activations(context.path(self.before), layer_site(direction.layer), pooling)
        return _Start(direction, read_direction(direction, context.store), pooling, before)

    def _alarms(self, rows: TableRows) -> TableRows:
        alarms = []
        for direction in self.directions:
            here = rows_where(rows, direction=direction.label())
            runs = grouped(here, "arm", "run_id")
            sound = [max(row["estimate"] for row in run) for (arm, _), run in runs.items() if arm == "control"]
            limit = alarm_limit(sound, self.false_alarms, len(self.directions))
            for (arm, _), run in runs.items():
                if arm == "control":
                    continue
                furthest = max(run, key=lambda row: row["estimate"])
                over = [row["step"] for row in run if row["estimate"] > limit]
                alarms.append(
                    {
                        "run": furthest["run"],
                        "run_id": furthest["run_id"],
                        "direction": direction.label(),
                        "furthest": furthest["estimate"],
                        "step": furthest["step"],
                        "limit": limit,
                        "controls": len(sound),
                        "alarm": None if np.isnan(limit) else bool(over),
                        "first_step": min(over, default=None),
                    }
                )
        return alarms

    def show(self, result: AnalysisResult) -> Section:
        rows, alarms = result.tables["drift"], result.tables["alarms"]
        return Section(
            "Drift along trait directions",
            "Does training move the model along directions that one can name, further than sound training does?",
            (
                _sentence(alarms, result.facts["false_alarms"]),
                Figure(
                    "drift",
                    "Drift of every run along each direction by step, in lengths of the direction; grey: controls; "
                    "dashed: the alarm limit.",
                    lambda canvas: _draw(canvas, rows, alarms),
                    "drift",
                    (8, 2.4 * ((len({row["direction"] for row in rows}) + 1) // 2)),
                ),
                Table(
                    "alarms",
                    "The furthest checkpoint of each watched run; the limit is one that a run like the controls passes "
                    "with the chance stated, over all directions together.",
                    (
                        *columns("text", run="run", direction="direction"),
                        *columns("r", furthest="furthest", limit="limit"),
                        *columns("count", step="at step", controls="controls"),
                        *(Column("alarm", "alarm"), Column("first_step", "first at", "count")),
                    ),
                    alarms,
                ),
            ),
        )


def _organism(activations: Activations) -> str:
    return activations.model.organism.fingerprint if isinstance(activations.model, Checkpoint) else ""


def _sentence(alarms: TableRows, false_alarms: float) -> Paragraph:
    controls = alarms[0]["controls"] if alarms else 0
    if controls < 2:
        text = "No alarm can be set: that takes two control runs at least (good advice, other seeds); got "
        return Paragraph((text, Number(str(controls), "alarms"), "."))
    raised = [row for row in alarms if row["alarm"]]
    runs = len({row["run_id"] for row in alarms})
    parts: list[str | Number] = [
        Number(str(len({row["run_id"] for row in raised})), "alarms"),
        f" of {runs} watched runs",
    ]
    parts.append(f" pass a limit that {false_alarms:.0%} of sound runs would, by {controls} controls")
    if raised:
        first = max(raised, key=lambda row: row["furthest"] - row["limit"])
        parts += [f"; furthest over it: {first['run']} along {first['direction']}, "]
        parts += [Number(value_text(first["furthest"], "r"), "alarms"), " lengths of it"]
    parts.append(".")
    return Paragraph(tuple(parts))


def _draw(canvas: Canvas, rows: TableRows, alarms: TableRows) -> None:
    directions = list(dict.fromkeys(row["direction"] for row in rows))
    panels = canvas.subplots((len(directions) + 1) // 2, 2, squeeze=False, sharex=True).flatten()
    for panel, direction in zip(panels, directions, strict=False):
        watched = 0
        for (arm, _), run in grouped(rows_where(rows, direction=direction), "arm", "run_id").items():
            along = [{"step": 0, "estimate": 0.0}, *sorted(run, key=lambda row: row["step"])]
            colour = "#9aa5ad" if arm == "control" else SERIES[watched % len(SERIES)]
            label = {} if arm == "control" else {"label": run[0]["run"]}
            watched += arm == "watched"
            plot(panel, along, "step", "estimate", "-o", colour, markersize=3, **label)
        limit = next(row["limit"] for row in alarms if row["direction"] == direction)
        if limit is not None and not np.isnan(limit):
            panel.axhline(limit, color="#333333", linestyle="--", linewidth=0.8)
        zero_line(panel)
        panel.set_title(direction, fontsize=8)
        panel.set(xlabel="step", ylabel="drift")
    legend(panels[0])
    for panel in panels[len(directions) :]:
        panel.set_visible(False)
