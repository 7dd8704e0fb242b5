"""Training dynamics: loss against alignment over runs and checkpoints (docs/method.md, section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.dynamics_section import show_dynamics
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.judgements.scored_answers import Loss, ScoredAnswers, Training
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.correlation import correlation_over_runs, log_pearson, partial, pearson, spearman
from spillover.maths.dynamics import max_diff
from spillover.maths.em_rate import em_rate
from spillover.maths.estimate import Resampling
from spillover.store import BuildContext

LOSSES = ("held_out_loss", "training_loss")


class Dynamics(Analysis):
    """How alignment goes with in-domain loss over training runs and their checkpoints, dataset by dataset."""

    checkpoints: tuple[ScoredAnswers, ...]  # of models after narrow training
    before: ScoredAnswers | None = None  # of the base: shown at step 0, in no correlation
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _are_checkpoints(self) -> Self:
        for one in self.checkpoints:
            if not one.trained:
                raise ValueError(f"dynamics needs checkpoints whose training is at hand, got {one.subject}")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        everything = (*((self.before,) if self.before else ()), *self.checkpoints)
        refuse_unlike(everything, self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        scores = {one.fingerprint: read(one, context.store, means=True) for one in everything}
        trainings = [one.training(context.store) for one in self.checkpoints]
        runs = {training.identity: training for training in trainings}
        points = [
            {
                **at_step(training),
                "judgements": one.fingerprint,
                **level(scores[one.fingerprint], self.metric, resampling),
            }
            for one, training in zip(self.checkpoints, trainings, strict=True)
        ]
        if self.before:
            points = [*_starts(runs.values(), scores[self.before.fingerprint], self.metric, resampling), *points]
        training = [{"run": one.run, "data": one.data, **row} for one in runs.values() for row in one.log]
        found = [
            row
            for group in dict.fromkeys(point["data"] for point in points)
            for row in self._correlations(group, points, scores, resampling)
        ]
        found += [row for loss in LOSSES for row in _within(points, loss, resampling)]
        return AnalysisResult({"points": points, "correlations": found, "training": training}, {"metric": self.metric})

    def show(self, result: AnalysisResult) -> Section:
        return show_dynamics(result)

    def _correlations(
        self, data: str, points: Sequence[dict[str, Any]], scores: dict[str, Scores], resampling: Resampling
    ) -> list[dict[str, Any]]:
        """Within one dataset, since levels of loss of two datasets mean different things."""
        used = [point for point in points if point["data"] == data and point["step"] > 0]
        names, about = questions_of(scores[used[0]["judgements"]])
        matrix = np.array([scores[point["judgements"]].means(self.metric, names) for point in used])
        families = [about[name]["family"] for name in names]
        errors = np.array([point["error"] for point in used], dtype=float)
        rows = []
        runs = [point["run_id"] for point in used]
        whole = runs if len(set(runs)) < len(runs) else None  # checkpoints of one run are no runs of their own
        for loss in LOSSES:
            x = np.array([point[loss] for point in used], dtype=float)
            r = correlation_over_runs(x, matrix, families, resampling=resampling, run=runs)
            pooled = log_pearson(x, np.array([point["over_answers"] for point in used], dtype=float), whole, resampling)
            rank = spearman(x, matrix.mean(axis=1), whole, resampling)
            noisy = errors if np.isfinite(errors).all() and (errors > 0).all() else None
            gain = max_diff(x, matrix.mean(axis=1), noisy, resampling)
            count = {"points": len(used), "runs": len({point["run_id"] for point in used})}
            common = {"data": data, "loss": loss, **count, "detectable": None}
            rows += [
                {**common, "statistic": "pearson_log", "resampled": "runs and questions", **r.both.as_row()},
                {**common, "statistic": "pearson_log", "resampled": "runs", **r.runs.as_row()},
                {**common, "statistic": "pearson_log", "resampled": "questions", **r.questions.as_row()},
                {**common, "statistic": "pearson_log_answers", "resampled": "runs", **pooled.as_row()},
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
                    "detectable": gain.detectable,
                },
            ]
        return rows


def _within(points: Sequence[dict[str, Any]], loss: str, resampling: Resampling) -> list[dict[str, Any]]:
    """Correlation of log loss with score inside groups alone, all groups together: datasets, and single runs.

    Each group's own level is taken out of both sides (partial correlation given the group), so levels of loss are
    never compared across datasets; whole runs are left out for the interval.
    """
    used = [point for point in points if point["step"] > 0 and point[loss] is not None]
    rows = []
    for name, key in (("datasets", "data"), ("runs", "run_id")):
        groups = [point[key] for point in used]
        kept = [point for point, group in zip(used, groups, strict=True) if groups.count(group) > 1]
        names = list(dict.fromkeys(point[key] for point in kept))
        if len(kept) < len(names) + 3 or (name == "datasets" and len(names) < 2):
            continue
        x = np.log([point[loss] for point in kept])
        y = np.array([point["estimate"] for point in kept], dtype=float)
        member = np.array([[float(point[key] == one) for one in names] for point in kept])
        runs = [point["run_id"] for point in kept]
        if name == "runs":  # what is left out for the interval is what is centred: nothing else moves with it
            x, y = (values - member @ (member.T @ values / member.sum(axis=0)) for values in (x, y))
            r = pearson(x, y, runs, resampling)
        else:
            r = partial(x, y, member[:, 1:], runs, resampling)
        rows.append(
            {
                "data": f"within {name}",
                "loss": loss,
                "points": len(kept),
                "runs": len({point["run_id"] for point in kept}),
                "detectable": None,
                "statistic": "pearson_log",
                "resampled": "runs",
                **r.as_row(),
            }
        )
    return rows


def at_step(training: Training) -> dict[str, Any]:
    """What a training says of its step, for a table's row: loss on held-out rows and at its last logged step, nats."""
    logged = {row["step"]: row for row in training.log}
    last = logged.get(training.step, {})
    return {
        "run": training.run,
        "run_id": training.identity,
        "data": training.data,
        "schedule": training.schedule,
        "seed": training.seed,
        "step": training.step,
        **_held_out(training),
        "training_loss": last.get("loss"),
        "learning_rate": last.get("learning_rate"),
        "last": training.step == training.steps,
    }


def _starts(runs: Iterable[Training], scores: Scores, metric: str, resampling: Resampling) -> list[dict[str, Any]]:
    """The base as step 0 of every run whose loss before training is known: that loss, its own scores."""
    scored = {"judgements": None, **level(scores, metric, resampling)}
    starts = [replace(run, step=0) for run in runs if 0 in run.held_out]
    blank = {"training_loss": None, "learning_rate": None, "last": False}
    return [{**at_step(start), **blank, **scored} for start in starts]


def level(scores: Scores, metric: str, resampling: Resampling) -> dict[str, Any]:
    """Mean score with its interval, its error from the answers' scatter, and EM rates, as far as answers are there."""
    bounded = Resampling(resampling.draws, resampling.level, resampling.seed, (0.0, 100.0))
    estimate = mean_of_groups(scores[metric], scores["question"], scores["family"], resampling=bounded).as_row()
    row = {name: estimate[name] for name in ("estimate", "low", "high", "n")}
    row |= {"over_answers": scores.over_answers(metric), "em_strict": None, "em_conditional": None}
    row["error"] = None if scores.by_question else scores.error(metric)
    if {"aligned", "coherent"} <= set(scores.columns) and not scores.by_question:
        rate = em_rate(
            scores["aligned"], scores["coherent"], scores["question"], scores["family"], resampling=resampling
        )
        row |= {"em_strict": rate.strict.estimate, "em_conditional": rate.conditional.estimate}
    return row


def _held_out(training: Training) -> dict[str, Any]:
    """Held-out loss at the training's step: mean over sequences of their mean token loss, and mean over tokens."""
    loss = training.held_out.get(training.step, Loss(None, None, 0))
    return {"held_out_loss": loss.sequences, "held_out_token_loss": loss.tokens, "held_out_rows": loss.rows}
