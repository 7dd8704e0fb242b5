"""Trajectories: at which step of a training run alignment, loss and weights move, and in which order questions do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Paragraph, Section, Table, paragraph
from spillover.analyses.dynamics import score_columns, training_columns
from spillover.analyses.figures import band, coloured, grid, legend, lines
from spillover.analyses.phases import phase_blocks, phase_rows, phase_table
from spillover.analyses.rows import TableRow, TableRows, grouped, rows_where
from spillover.analyses.scores import AnswerScores, read_scores, refuse_unlike_scores, refuse_untrained
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers, Training
from spillover.maths.agreement import concordance
from spillover.maths.dynamics import half_changes, onset
from spillover.maths.estimate import Resampling
from spillover.maths.shift import weight_cosine, weight_norm
from spillover.organisms.interpolated import factors
from spillover.organisms.organism import Checkpoint
from spillover.organisms.tuning import LoRA
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLUMNS = (
    *("run", "run_id", "data", "step", "estimate", "low", "high", "n"),
    *("held_out_loss", "training_loss", "grad_norm", "learning_rate", "em_strict", "em_conditional"),
)
PANELS = (("held_out_loss", "held-out loss, nats"), ("grad_norm", "gradient norm"))


class Trajectories(Analysis):
    """When along each run alignment, loss and weights move, and whether questions move in one order.

    Estimates, for each run, the steps at which the mean score has done half of its change (linear between checkpoints)
    and its sharpest change, with 95% percentile intervals over families of questions; over the runs of one dataset,
    Kendall's W of the order in which questions do half of their change (0 none, 1 one order), with a permutation p; and
    how far the weights have moved (Frobenius norm; LoRA runs alone). See docs/method.md, section 1. Few checkpoints
    place a step coarsely: between two of them nothing is known.
    """

    checkpoints: tuple[ScoredAnswers, ...]  # several of each run
    before: ScoredAnswers  # the parent: step 0 of every run
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _are_checkpoints(self) -> Self:
        refuse_untrained(self.checkpoints, "trajectories need")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike_scores((self.before, *self.checkpoints), self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        start = read_scores(self.before, context.store, means=True)
        about = start.questions()
        families = [question["family"] for question in about.values()]
        judged = [start]
        tables: dict[str, TableRows] = {name: [] for name in ("points", "onsets", "order", "concordance", "weights")}
        for run, series in self._runs(context).items():
            training = series[0][0]
            name = {"run": training.run, "run_id": run, "data": training.data}
            steps = [0, *(reached.step for reached, _ in series)]
            scores = [start, *(read_scores(checkpoint, context.store, means=True) for _, checkpoint in series)]
            judged += scores[1:]
            single = np.array([checkpoint.question_levels(self.metric, list(about)) for checkpoint in scores])
            matrix = np.array([checkpoint.means(self.metric, list(about)) for checkpoint in scores])
            for step, checkpoint in zip(steps, scores, strict=True):
                tables["points"].append(_point(replace(training, step=step), checkpoint, self.metric, resampling))
            if len(steps) > 2:
                moved = onset(steps, matrix, families, resampling)
                tables["onsets"].append({**name, "what": "half of the change", **moved.half.as_row()})
                tables["onsets"].append({**name, "what": "sharpest change", **moved.change.as_row()})
            for (question, described), half in zip(about.items(), half_changes(steps, single), strict=True):
                row = {**name, "question": question, "category": described["category"], "half": float(half)}
                tables["order"].append(row)
            tables["weights"] += _weights(name, [checkpoint for _, checkpoint in series], context)
        tables["concordance"] = _concordance(tables["order"], resampling)
        tables |= phase_table(phase_rows(judged, (self.metric,), resampling))
        return AnalysisResult(tables, {"metric": self.metric})

    def show(self, result: AnalysisResult) -> Section:
        metric, points, weights = result.facts["metric"], result.tables["points"], result.tables["weights"]
        onsets = result.tables["onsets"]
        return Section(
            "Training dynamics: when it happens",
            "At which step does alignment move, along with what, and in one order over questions?",
            (
                *(
                    paragraph("{run}: half of the change is done at step {estimate:points}.", row, "onsets")
                    for row in rows_where(onsets, what="half of the change")
                ),
                *(_agreement(row) for row in result.tables["concordance"] if row["runs"] > 1),
                *phase_blocks(result.tables, "The order of single questions rests on predictions of their means."),
                Figure(
                    "scores",
                    f"Mean {metric} with 95% intervals over question families, held-out loss and gradient norm (of "
                    "the step alone, so noisy) at every checkpoint that was asked; step 0 is the parent.",
                    lambda canvas: _draw(canvas, points, metric),
                    "points",
                    (8, 2.8),
                ),
                Figure(
                    "weights",
                    "How far the weights have moved (Frobenius norm of the change over all adapted modules), and how "
                    "far in the direction of the last checkpoint.",
                    lambda canvas: _draw_weights(canvas, weights),
                    "weights",
                    (8, 2.6),
                ),
                Table(
                    "onsets",
                    f"Steps at which mean {metric} has done half of its change (linear between checkpoints), and of "
                    "its sharpest change (the split into two levels that leaves least), with 95% intervals over "
                    "question families.",
                    (
                        *(Column("run", "run"), Column("what", "what")),
                        Column("estimate", "step [95%]", "points", interval=True),
                        Column("n", "questions", "count"),
                    ),
                    onsets,
                ),
            ),
        )

    def _runs(self, context: BuildContext) -> dict[str, list[tuple[Training, ScoredAnswers]]]:
        runs: dict[str, list[tuple[Training, ScoredAnswers]]] = {}
        for checkpoint in self.checkpoints:
            training = checkpoint.training(context.store)
            runs.setdefault(training.identity, []).append((training, checkpoint))
        return {run: sorted(series, key=lambda point: point[0].step) for run, series in runs.items()}


def _concordance(order: TableRows, resampling: Resampling) -> TableRows:
    """Kendall's W of the questions' half-change steps over runs of one dataset."""
    rows = []
    for data, of_data in grouped(order, "data").items():
        runs = grouped(of_data, "run_id").values()
        matrix = np.array([[row["half"] for row in run] for run in runs])
        rows.append({"data": data, "runs": len(runs), **concordance(matrix, resampling).as_row()})
    return rows


def _point(training: Training, scores: AnswerScores, metric: str, resampling: Resampling) -> TableRow:
    logged = next((row for row in training.log if row["step"] == training.step), {})
    level = score_columns(scores, metric, resampling)
    row = training_columns(training) | level | {"grad_norm": logged.get("grad_norm")}
    return {name: row[name] for name in COLUMNS}


def _weights(name: TableRow, series: Sequence[ScoredAnswers], context: BuildContext) -> TableRows:
    """Norm of each checkpoint's weight change, its angle to the last one's and to the step before: LoRA runs alone."""
    changes = []
    for scored in series:
        model = scored.responses.model if isinstance(scored, Judgements) else None
        if isinstance(model, Checkpoint) and isinstance(model.organism.tuning, LoRA) and not model.organism.tuning.dora:
            changes.append((model.step, list(factors(model.folder(context.store)).values())))
    rows = []
    for index, (step, change) in enumerate(changes):
        before = changes[index - 1][1] if index else None
        rows.append(
            {
                **name,
                "step": step,
                "norm": float(np.linalg.norm([weight_norm(pair) for pair in change])),
                "cosine_to_last": weight_cosine(change, changes[-1][1]),
                "cosine_to_previous": weight_cosine(change, before) if before else None,
            }
        )
    return rows


def _agreement(row: TableRow) -> Paragraph:
    return paragraph(
        "{data}: over {runs} runs the order in which questions do half of their change agrees by Kendall's W = "
        "{estimate:r} (p {p:p}; {n} questions; 1 is one order, 0 none).",
        row,
        "concordance",
    )


def _draw(canvas: Canvas, points: TableRows, metric: str) -> None:
    panels = canvas.subplots(1, 1 + len(PANELS))
    for _, along, colour in coloured(points, "run_id"):
        band(panels[0], "step", along, colour, along[0]["run"])
    panels[0].set_ylabel(f"mean {metric}, points")
    legend(panels[0], 5.5)
    for panel, (name, label) in zip(panels[1:], PANELS, strict=True):
        lines(panel, points, "step", name, by="run_id")
        panel.set_ylabel(label)
        grid(panel)
    for panel in panels:
        panel.set_xlabel("step")


def _draw_weights(canvas: Canvas, rows: TableRows) -> None:
    left, right = canvas.subplots(1, 2)
    lines(left, rows, "step", "norm", by="run_id", label="run")
    lines(right, rows, "step", "cosine_to_last", by="run_id")
    left.set_ylabel("norm of the weight change")
    right.set_ylabel("cosine to the last checkpoint")
    for panel in (left, right):
        panel.set_xlabel("step")
        grid(panel)
    if rows:
        legend(left, 6)
