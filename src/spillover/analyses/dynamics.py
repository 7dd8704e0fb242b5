"""Training dynamics: loss against alignment over runs and checkpoints (METHOD section 1). Knows runs and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, Found
from spillover.analyses.dynamics_section import show_dynamics
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.analyses.showing import Section
from spillover.judgements.judgements import Judgements
from spillover.maths.bootstrap import Resampling, mean_of_groups
from spillover.maths.correlation import spearman
from spillover.maths.em_rate import em_rate
from spillover.maths.max_diff import max_diff
from spillover.maths.runs import correlation_over_runs
from spillover.organisms.organism import Checkpoint
from spillover.records import read_table
from spillover.store import Work

LOSSES = ("held_out_loss", "training_loss")


class Dynamics(Analysis):
    """How alignment goes with in-domain loss over training runs and their checkpoints, dataset by dataset."""

    checkpoints: tuple[Judgements, ...]  # of checkpoints
    before: Judgements | None = None  # of the base: shown at step 0, in no correlation
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _are_checkpoints(self) -> Self:
        for one in self.checkpoints:
            if not isinstance(one.responses.model, Checkpoint):
                raise ValueError(f"dynamics needs checkpoints of organisms, got {one.responses.model.label()}")
        return self

    def analyse(self, work: Work) -> Found:
        everything = (*((self.before,) if self.before else ()), *self.checkpoints)
        refuse_unlike(everything)
        how = Resampling(self.draws)
        scores = {one.fingerprint: read(one, work.store) for one in everything}
        points = [self._point(one, scores[one.fingerprint], work, how) for one in self.checkpoints]
        if self.before:
            points = [*_starts(points, scores[self.before.fingerprint], self.metric, how, self, work), *points]
        training = [row for one in _organisms(self.checkpoints) for row in _log(one, work)]
        found = [
            row
            for group in dict.fromkeys(point["data"] for point in points)
            for row in self._correlations(group, points, scores, how)
        ]
        return Found({"points": points, "correlations": found, "training": training}, {"metric": self.metric})

    def show(self, found: Found) -> Section:
        return show_dynamics(found)

    def _point(self, one: Judgements, scores: Scores, work: Work, how: Resampling) -> dict[str, Any]:
        checkpoint = one.responses.model
        assert isinstance(checkpoint, Checkpoint)
        organism = checkpoint.organism
        log = {row["step"]: row for row in _log(organism, work)}
        return {
            "run": organism.label(),
            "data": organism.data.data.label(),
            "schedule": organism.schedule.label(),
            "seed": organism.order_seed,
            "step": checkpoint.step,
            **_held_out(organism, checkpoint.step, work),
            "training_loss": log[checkpoint.step]["loss"],
            "learning_rate": log[checkpoint.step]["learning_rate"],
            "last": checkpoint.step == organism.steps,
            "judgements": one.fingerprint,
            **_scored(scores, self.metric, how),
        }

    def _correlations(
        self, data: str, points: Sequence[dict[str, Any]], scores: dict[str, Scores], how: Resampling
    ) -> list[dict[str, Any]]:
        """Within one dataset, since levels of loss of two datasets mean different things."""
        used = [point for point in points if point["data"] == data and point["step"] > 0]
        names, about = questions_of(scores[used[0]["judgements"]])
        matrix = np.array([scores[point["judgements"]].means(self.metric, names) for point in used])
        families = [about[name]["family"] for name in names]
        errors = np.array([point["error"] for point in used], dtype=float)
        rows = []
        for loss in LOSSES:
            x = np.array([point[loss] for point in used])
            r = correlation_over_runs(x, matrix, families, log=True, how=how)
            rank = spearman(x, matrix.mean(axis=1), how=how)
            noisy = errors if np.isfinite(errors).all() and (errors > 0).all() else None
            gain = max_diff(x, matrix.mean(axis=1), noisy, how)
            common = {"data": data, "loss": loss, "points": len(used), "runs": len({point["run"] for point in used})}
            rows += [
                {**common, "statistic": "pearson_log", "resampled": "runs and questions", **r.both.as_row()},
                {**common, "statistic": "pearson_log", "resampled": "runs", **r.runs.as_row()},
                {**common, "statistic": "pearson_log", "resampled": "questions", **r.questions.as_row()},
                {**common, "statistic": "spearman", "resampled": "runs", **rank.as_row()},
                {
                    **common,
                    "statistic": "max_diff",
                    "resampled": "answers",
                    "estimate": gain.value,
                    "low": None,
                    "high": None,
                    "n": gain.n,
                    "p": gain.p,
                    "q": None,
                },
            ]
        return rows


def _starts(
    points: Sequence[dict[str, Any]], scores: Scores, metric: str, how: Resampling, spec: Dynamics, work: Work
) -> list[dict[str, Any]]:
    """The base as step 0 of every run: its loss on the run's held-out rows, its own scores."""
    level = _scored(scores, metric, how)
    rows = []
    for organism in _organisms(spec.checkpoints):
        first = next(point for point in points if point["run"] == organism.label())
        blank = {"training_loss": None, "learning_rate": None, "last": False, "judgements": None}
        rows.append({**first, "step": 0, **_held_out(organism, 0, work), **blank, **level})
    return rows


def _scored(scores: Scores, metric: str, how: Resampling) -> dict[str, Any]:
    bounded = Resampling(how.draws, how.level, how.seed, (0.0, 100.0))
    estimate = mean_of_groups(scores[metric], scores["question"], scores["family"], how=bounded).as_row()
    row = {name: estimate[name] for name in ("estimate", "low", "high", "n")}
    row["error"] = scores.error(metric)
    if {"aligned", "coherent"} <= set(scores.columns):
        rate = em_rate(scores["aligned"], scores["coherent"], scores["question"], scores["family"], how=how)
        row |= {"em_strict": rate.strict.estimate, "em_conditional": rate.conditional.estimate}
    return row


def _organisms(judgements: Sequence[Judgements]) -> list[Any]:
    models = [one.responses.model for one in judgements]
    found = {model.organism.fingerprint: model.organism for model in models if isinstance(model, Checkpoint)}
    return list(found.values())


def _held_out(organism: Any, step: int, work: Work) -> dict[str, Any]:
    """Held-out loss after a step: mean over sequences of their mean token loss, and mean over tokens (nats)."""
    rows = read_table(work.of(organism) / "losses.parquet").to_pylist()
    rows = [row for row in rows if row["step"] == step and row["split"] == "held_out"]
    losses = np.array([row["loss"] for row in rows])
    tokens = np.array([row["tokens"] for row in rows])
    return {
        "held_out_loss": float(losses.mean()),
        "held_out_token_loss": float(losses @ tokens / tokens.sum()),
        "held_out_rows": len(rows),
    }


def _log(organism: Any, work: Work) -> list[dict[str, Any]]:
    rows = read_table(work.of(organism) / "log.parquet").to_pylist()
    return [{"run": organism.label(), "data": organism.data.data.label(), **row} for row in rows]
