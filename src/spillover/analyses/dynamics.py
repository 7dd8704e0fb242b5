"""Training dynamics: loss against alignment over runs and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import (
    Column,
    Figure,
    Paragraph,
    Section,
    Table,
    columns,
    interval_text,
    number,
    paragraph,
    value_text,
)
from spillover.analyses.figures import MANY, SERIES, coloured, grid, legend, plot
from spillover.analyses.phases import phase_blocks, phase_rows, phase_table
from spillover.analyses.rows import TableRow, TableRows, grouped, row_where, untested
from spillover.analyses.scores import AnswerScores, read_scores, refuse_unlike_scores, refuse_untrained
from spillover.judgements.scored_answers import Loss, ScoredAnswers, Training
from spillover.maths.correlation import correlation_over_runs, log_pearson, partial, pearson, spearman
from spillover.maths.dynamics import max_diff
from spillover.maths.estimate import NAN, Estimate, Resampling
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LOSSES = ("held_out_loss", "training_loss")
FEW, FEW_RUNS = 8, 4  # points and runs below which a correlation is shown with a warning
NAMED = 12  # runs up to which a figure names them


class Dynamics(Analysis):
    """How alignment goes with in-domain loss over training runs and their checkpoints, dataset by dataset.

    Estimates, within one dataset, Pearson r of log loss (nats) with the mean score over questions, Spearman r, and
    max_diff: the largest gain in score (points) at similar or lower loss, as the paper publishes it, with the p-value
    of the null that the score depends on loss alone. Intervals are 95% jackknife intervals on Fisher's z, over runs,
    over families of questions, or over both, as the row says (docs/method.md, section 1). Losses stand as mean over
    held-out sequences of their mean token loss, and as mean over all tokens.
    """

    checkpoints: tuple[ScoredAnswers, ...]  # of models after narrow training
    before: ScoredAnswers | None = None  # of the base: shown at step 0, in no correlation
    metric: str = "aligned"
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _are_checkpoints(self) -> Self:
        refuse_untrained(self.checkpoints, "dynamics needs")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        sets = (*((self.before,) if self.before else ()), *self.checkpoints)
        refuse_unlike_scores(sets, self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        scores = {scored.fingerprint: read_scores(scored, context.store, means=True) for scored in sets}
        trainings = [checkpoint.training(context.store) for checkpoint in self.checkpoints]
        runs = {training.identity: training for training in trainings}
        points = []
        for checkpoint, training in zip(self.checkpoints, trainings, strict=True):
            level = score_columns(scores[checkpoint.fingerprint], self.metric, resampling)
            points.append({**training_columns(training), "judgements": checkpoint.fingerprint, **level})
        if self.before:
            before = score_columns(scores[self.before.fingerprint], self.metric, resampling)
            points = [*_starts(runs.values(), before), *points]
        correlations = []
        for data in dict.fromkeys(point["data"] for point in points):
            correlations += self._correlations(data, points, scores, resampling)
        correlations += [row for loss in LOSSES for row in _within(points, loss, resampling)]
        logs = [{"run": run.run, "data": run.data, **row} for run in runs.values() for row in run.log]
        phases = phase_rows(scores.values(), (self.metric,), resampling)
        tables = {"points": points, "correlations": correlations, "training": logs}
        return AnalysisResult({**tables, **phase_table(phases)}, {"metric": self.metric})

    def _correlations(
        self, data: str, points: TableRows, scores: Mapping[str, AnswerScores], resampling: Resampling
    ) -> TableRows:
        """Within one dataset, since levels of loss of two datasets mean different things."""
        used = [point for point in points if point["data"] == data and point["step"] > 0]
        about = scores[used[0]["judgements"]].questions()
        matrix = np.array([scores[point["judgements"]].means(self.metric, list(about)) for point in used])
        families = [question["family"] for question in about.values()]
        errors = _column(used, "error")
        noisy = errors if np.isfinite(errors).all() and (errors > 0).all() else None
        rows: TableRows = []
        runs = [point["run_id"] for point in used]
        whole = runs if len(set(runs)) < len(runs) else None  # checkpoints of one run are no runs of their own
        for loss in LOSSES:
            x, mean = _column(used, loss), matrix.mean(axis=1)
            r = correlation_over_runs(x, matrix, families, resampling=resampling, run=runs)
            pooled = log_pearson(x, _column(used, "over_answers"), whole, resampling)
            rank = spearman(x, mean, whole, resampling)
            gain = max_diff(x, mean, noisy, resampling)
            largest = Estimate(gain.value, NAN, NAN, gain.n, gain.p)
            rows += [
                _row(data, loss, used, "pearson_log", "runs and questions", r.both),
                _row(data, loss, used, "pearson_log", "runs", r.runs),
                _row(data, loss, used, "pearson_log", "questions", r.questions),
                _row(data, loss, used, "pearson_log_answers", "runs", pooled),
                _row(data, loss, used, "spearman", "runs", rank),
                _row(data, loss, used, "max_diff", "answers", largest) | {"detectable": gain.detectable},
            ]
        return rows

    def show(self, result: AnalysisResult) -> Section:
        points, correlations, metric = result.tables["points"], result.tables["correlations"], result.facts["metric"]
        logs = result.tables["training"]
        return Section(
            "Training dynamics: loss and alignment",
            "Does alignment fall as the narrow training set is learnt, and is any run better aligned at similar or "
            "lower loss?",
            (
                *(_sentence(data, correlations) for data in grouped(points, "data")),
                Figure(
                    "loss",
                    f"Mean {metric} against held-out in-domain loss along each run, one panel a dataset; the open "
                    "mark is the base before training, which r leaves out, the largest the end of a run. Bars are 95% "
                    "intervals over question families.",
                    lambda canvas: _draw(canvas, points, metric),
                    "points",
                    (8, 3.6),
                ),
                _correlation_table(correlations),
                *phase_blocks(result.tables),
                Figure("training", _TRAINING, lambda canvas: _draw_training(canvas, logs), "training", (8, 3)),
                Table(
                    "points",
                    "Every checkpoint that was asked: held-out loss as mean over sequences and over tokens, nats.",
                    (
                        *(Column("run", "run"), Column("step", "step", "count")),
                        *columns("nats", held_out_loss="held-out loss (sequences)", held_out_token_loss="(tokens)"),
                        *columns("nats", training_loss="training loss"),
                        Column("estimate", f"{metric} [95%]", "points", interval=True),
                        *columns("percent", em_strict="EM rate, strict", em_conditional="conditional"),
                    ),
                    points,
                ),
            ),
        )


def training_columns(training: Training) -> TableRow:
    """What a training says of its step: held-out loss, loss and learning rate at that logged step (losses in nats)."""
    logged = {row["step"]: row for row in training.log}.get(training.step, {})
    loss = training.held_out.get(training.step, Loss(None, None, 0))
    return {
        "run": training.run,
        "run_id": training.identity,
        "data": training.data,
        "schedule": training.schedule,
        "seed": training.seed,
        "step": training.step,
        "held_out_loss": loss.sequences,
        "held_out_token_loss": loss.tokens,
        "held_out_rows": loss.rows,
        "training_loss": logged.get("loss"),
        "learning_rate": logged.get("learning_rate"),
        "last": training.step == training.steps,
    }


def score_columns(scores: AnswerScores, metric: str, resampling: Resampling) -> TableRow:
    """Mean score with its interval, its error from the answers' scatter, and EM rates, as far as answers are there."""
    row = untested(scores.mean(metric, resampling))
    row |= {"over_answers": scores.mean_over_answers(metric), "em_strict": None, "em_conditional": None}
    row["error"] = None if scores.by_question else scores.standard_error(metric)
    if scores.scored_for_em and not scores.by_question:
        rate = scores.em_rates(resampling)
        row |= {"em_strict": rate.strict.estimate, "em_conditional": rate.conditional.estimate}
    return row


def _starts(runs: Iterable[Training], before: TableRow) -> TableRows:
    """The base as step 0 of every run whose loss before training is known: that loss, its own scores."""
    starts = [replace(run, step=0) for run in runs if 0 in run.held_out]
    blank = {"training_loss": None, "learning_rate": None, "last": False, "judgements": None}
    return [{**training_columns(start), **blank, **before} for start in starts]


def _column(points: TableRows, name: str) -> np.ndarray:
    return np.array([point[name] for point in points], dtype=float)


def _row(data: str, loss: str, used: TableRows, statistic: str, resampled: str, estimate: Estimate) -> TableRow:
    runs = len({point["run_id"] for point in used})
    row = {"data": data, "loss": loss, "points": len(used), "runs": runs, "detectable": None}
    return row | {"statistic": statistic, "resampled": resampled, **estimate.as_row()}


def _within(points: TableRows, loss: str, resampling: Resampling) -> TableRows:
    """Correlation of log loss with score inside groups alone, all groups together: datasets, and single runs.

    Each group's own level is taken out of both sides (partial correlation given the group), so levels of loss are
    never compared across datasets; whole runs are left out for the interval.
    """
    with_loss = [point for point in points if point["step"] > 0 and point[loss] is not None]
    rows = []
    for name, key in (("datasets", "data"), ("runs", "run_id")):
        sizes = {value: len(group) for value, group in grouped(with_loss, key).items()}
        used = [point for point in with_loss if sizes[point[key]] > 1]
        groups = list(grouped(used, key))
        if len(used) < len(groups) + 3 or (name == "datasets" and len(groups) < 2):
            continue
        x, y = np.log(_column(used, loss)), _column(used, "estimate")
        member = np.array([[float(point[key] == group) for group in groups] for point in used])
        runs = [point["run_id"] for point in used]
        if name == "runs":  # what is left out for the interval is what is centred: nothing else moves with it
            x, y = (values - member @ (member.T @ values / member.sum(axis=0)) for values in (x, y))
            r = pearson(x, y, runs, resampling)
        else:
            r = partial(x, y, member[:, 1:], runs, resampling)
        rows.append(_row(f"within {name}", loss, used, "pearson_log", "runs", r))
    return rows


def _correlation_table(correlations: TableRows) -> Table:
    return Table(
        "correlations",
        "Pearson r is of log loss with the mean over questions; pearson_log_answers with the mean over answers, as "
        "published, which differs where answers lack a score. Loss levels are never compared across datasets. "
        "max_diff is the largest gain in score at similar or lower loss, with the p-value of the null that the score "
        "depends on loss alone. Checkpoints of one run are not independent: read intervals over few runs as the least "
        "uncertainty there is. Within datasets, within runs: each one's own level taken out, all together.",
        (
            *columns("text", data="trained on", loss="loss", statistic="statistic", resampled="resampled"),
            *(Column("shown", "estimate [95%]"), Column("p", "p", "p")),
            *columns("count", runs="runs", points="checkpoints"),
        ),
        [
            row | {"shown": interval_text(row, "points" if row["statistic"] == "max_diff" else "r")}
            for row in correlations
        ],
    )


_TRAINING = (
    "Training loss (mean per supervised token, nats; thin) with its running mean, and the learning rate, by step. Of "
    f"more than {MANY} runs: their median, and where nine in ten of them lie."
)


def _sentence(data: str, rows: TableRows) -> Paragraph:
    r = row_where(rows, data=data, loss="held_out_loss", statistic="pearson_log", resampled="runs and questions")
    gain = row_where(rows, data=data, loss="held_out_loss", statistic="max_diff")
    points, runs, detectable = r.get("points", 0), r.get("runs", 0), gain.get("detectable")
    few = (
        f" With {points} checkpoint{'s' * (points != 1)} of {runs} run{'s' * (runs != 1)} this is a picture, not "
        "evidence."
        if points < FEW or runs < FEW_RUNS
        else ""
    )
    power = ("; a run better by ", number(gain, "correlations", name="detectable"), " would be found in 80%")
    return paragraph(
        "{data}: r(log held-out loss, score) = {estimate:r}; largest gain at similar or lower loss {gain} points (p = "
        "{p}{power}).{few}",
        r,
        "correlations",
        gain=number(gain, "correlations"),
        p=value_text(gain.get("p"), "p"),
        power=() if detectable is None else power,
        few=few,
    )


def _draw(canvas: Canvas, points: TableRows, metric: str) -> None:
    groups = grouped(points, "data")
    panels = canvas.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, (data, of_data) in zip(panels, groups.items(), strict=True):
        runs = list(coloured(of_data, "run"))
        if len(runs) <= MANY:
            for run, along, colour in runs:
                _draw_run(panel, sorted(along, key=lambda point: point["step"]), colour, run)
        else:
            _draw_points(panel, of_data)
        panel.set_title(data, fontsize=9)
        panel.set_xlabel("held-out loss, nats")
        if len(runs) <= NAMED:
            legend(panel, 6.5)
        grid(panel)
    panels[0].set_ylabel(f"mean {metric}, points")


def _draw_run(panel: Axes, along: TableRows, colour: str, run: str) -> None:
    trained = [point for point in along if point["step"] > 0]
    plot(panel, trained, "held_out_loss", "estimate", "-", colour, linewidth=1, label=run)
    for point in along:
        panel.plot([point["held_out_loss"]] * 2, _interval(point), color=colour, linewidth=0.8, alpha=0.6)
        face = "white" if point["step"] == 0 else colour
        size = 7 if point["last"] else 4.5
        panel.plot(point["held_out_loss"], point["estimate"], "o", color=colour, markerfacecolor=face, markersize=size)


def _draw_points(panel: Axes, points: TableRows) -> None:
    """More runs than can be told apart: all points in one cloud."""
    drawable = [point for point in points if point["held_out_loss"] is not None and point["estimate"] is not None]
    x = [point["held_out_loss"] for point in drawable]
    low, high = zip(*map(_interval, drawable), strict=True)
    panel.vlines(x, low, high, color=SERIES[0], linewidth=0.5, alpha=0.25)
    panel.scatter(x, [point["estimate"] for point in drawable], s=6, color=SERIES[0], alpha=0.5, linewidths=0)


def _interval(point: TableRow) -> tuple[float, float]:
    low, high = (point["estimate"] if point[end] is None else point[end] for end in ("low", "high"))
    return low, high


def _draw_training(canvas: Canvas, rows: TableRows) -> None:
    left, right = canvas.subplots(1, 2)
    runs = list(coloured(rows, "run"))
    if len(runs) > MANY:
        _draw_spread(left, rows, "loss")
        _draw_spread(right, rows, "learning_rate")
    for run, along, colour in runs if len(runs) <= MANY else ():
        plot(left, along, "step", "loss", "-", colour, linewidth=0.5, alpha=0.5)
        smooth = _running_mean([row["loss"] for row in along])
        left.plot([row["step"] for row in along], smooth, color=colour, linewidth=1.5, label=run)
        plot(right, along, "step", "learning_rate", "-", colour, linewidth=1.2)
    left.set(xlabel="step", ylabel="training loss, nats")
    if len(runs) <= NAMED:
        legend(left, 6.5)
    right.set(xlabel="step", ylabel="learning rate")


def _draw_spread(axes: Axes, rows: TableRows, name: str) -> None:
    """More runs than can be told apart: their median at each step, and where nine in ten lie."""
    by_step = {step: [row[name] for row in at if row[name] is not None] for step, at in grouped(rows, "step").items()}
    steps = sorted(step for step, values in by_step.items() if values)
    low, middle, high = (np.array([np.quantile(by_step[step], share) for step in steps]) for share in (0.05, 0.5, 0.95))
    axes.fill_between(steps, low, high, color=SERIES[0], alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=SERIES[0], linewidth=1.5)


def _running_mean(values: Sequence[float], width: int = 5) -> list[float]:
    windows = [values[max(0, end - width) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]
