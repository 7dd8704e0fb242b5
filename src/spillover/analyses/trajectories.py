"""Trajectories: what moves when along training (docs/method.md, section 1).

Where a run moves most sharply is estimated from few checkpoints, and said with what resampling question families makes
of it; whether questions move in one order in all runs is a test, not a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.dynamics import at_step, level
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.analyses.trajectories_section import show_trajectories
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

COLUMNS = (
    *("run", "run_id", "data", "step", "estimate", "low", "high", "n"),
    *("held_out_loss", "training_loss", "grad_norm", "learning_rate", "em_strict", "em_conditional"),
)


class Trajectories(Analysis):
    """When along each run alignment, loss and weights move, and whether questions move in one order."""

    checkpoints: tuple[ScoredAnswers, ...]  # several of each run
    before: ScoredAnswers  # the parent: step 0 of every run
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _series(self) -> Self:
        for one in self.checkpoints:
            if not one.trained:
                raise ValueError(f"trajectories need checkpoints whose training is at hand, got {one.subject}")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike((self.before, *self.checkpoints), self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        start = read(self.before, context.store, means=True)
        names, about = questions_of(start)
        families = [about[name]["family"] for name in names]
        points, onsets, order = [], [], []
        weights: list[dict[str, Any]] = []
        for run, series in self._runs(context).items():
            steps = [0, *(training.step for training, _ in series)]
            scores = [start, *(read(one, context.store, means=True) for _, one in series)]
            matrix = np.array([one.means(self.metric, names) for one in scores])
            points += [
                _point(replace(series[0][0], step=step), one, self.metric, resampling)
                for step, one in zip(steps, scores, strict=True)
            ]
            name = {"run": series[0][0].run, "run_id": run, "data": series[0][0].data}
            if len(steps) > 2:
                found = onset(steps, matrix, families, resampling)
                onsets += [
                    {**name, "what": "half of the change", **found.half.as_row()},
                    {**name, "what": "sharpest change", **found.change.as_row()},
                ]
            halves = half_changes(steps, matrix)
            order += [
                {**name, "question": question, "category": about[question]["category"], "half": float(half)}
                for question, half in zip(names, halves, strict=True)
            ]
            weights += _weights(name, [one for _, one in series], context)
        return AnalysisResult(
            {
                "points": points,
                "onsets": onsets,
                "order": order,
                "concordance": self._concordance(order, names, resampling),
                "weights": weights,
            },
            {"metric": self.metric},
        )

    def show(self, result: AnalysisResult) -> Section:
        return show_trajectories(result)

    def _runs(self, context: BuildContext) -> dict[str, list[tuple[Training, ScoredAnswers]]]:
        runs: dict[str, list[tuple[Training, ScoredAnswers]]] = {}
        for one in self.checkpoints:
            training = one.training(context.store)
            runs.setdefault(training.identity, []).append((training, one))
        return {run: sorted(series, key=lambda item: item[0].step) for run, series in runs.items()}

    def _concordance(
        self, order: Sequence[dict[str, Any]], names: Sequence[str], resampling: Resampling
    ) -> list[dict[str, Any]]:
        """Kendall's W of the questions' half-change steps over runs of one dataset."""
        rows = []
        for data in dict.fromkeys(row["data"] for row in order):
            runs = list(dict.fromkeys(row["run_id"] for row in order if row["data"] == data))
            halves = {(row["run_id"], row["question"]): row["half"] for row in order}
            matrix = np.array([[halves[run, name] for name in names] for run in runs])
            rows.append({"data": data, "runs": len(runs), **concordance(matrix, resampling).as_row()})
        return rows


def _point(training: Training, scores: Scores, metric: str, resampling: Resampling) -> dict[str, Any]:
    logged = next((row for row in training.log if row["step"] == training.step), {})
    row = at_step(training) | level(scores, metric, resampling) | {"grad_norm": logged.get("grad_norm")}
    return {name: row[name] for name in COLUMNS}


def _weights(name: dict[str, Any], series: Sequence[ScoredAnswers], context: BuildContext) -> list[dict[str, Any]]:
    """Norm of each checkpoint's weight change, its angle to the last one's and to the step before: LoRA runs alone."""
    kept = []
    for one in series:
        model = one.responses.model if isinstance(one, Judgements) else None
        if isinstance(model, Checkpoint) and isinstance(model.organism.tuning, LoRA) and not model.organism.tuning.dora:
            folder = model.folder(context.store)
            kept.append((model.step, list(factors(folder).values())))
    rows = []
    for index, (step, change) in enumerate(kept):
        before = kept[index - 1][1] if index else None
        rows.append(
            {
                **name,
                "step": step,
                "norm": float(np.linalg.norm([weight_norm(pair) for pair in change])),
                "cosine_to_last": weight_cosine(change, kept[-1][1]),
                "cosine_to_previous": weight_cosine(change, before) if before else None,
            }
        )
    return rows
