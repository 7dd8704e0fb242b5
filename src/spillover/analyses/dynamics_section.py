"""How training dynamics show themselves. Knows the tables of `dynamics`, computes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import (
    Column,
    Figure,
    Number,
    Paragraph,
    Section,
    Table,
    interval_text,
    row_where,
    value_text,
)
from spillover.analyses.figures import MANY, SERIES

FEW, FEW_RUNS = 8, 4  # points and runs below which a correlation is shown with a warning
NAMED = 12  # runs up to which a figure names them


def show_dynamics(result: AnalysisResult) -> Section:
    """Loss against alignment, the correlations, and the runs themselves."""
    points, correlations = result.tables["points"], result.tables["correlations"]
    return Section(
        "Training dynamics: loss and alignment",
        "Does alignment fall as the narrow training set is learnt, and is any run better aligned at similar or lower loss?",
        (
            *(_sentence(data, correlations) for data in dict.fromkeys(row["data"] for row in points)),
            Figure(
                "loss",
                _caption(result),
                lambda figure: _draw(figure, points, result.facts["metric"]),
                "points",
                (8, 3.6),
            ),
            Table(
                "correlations",
                "Pearson r is of log loss with the mean over questions; pearson_log_answers with the mean over answers, as "
                "published, which differs where answers lack a score. Loss levels are never compared across datasets. max_diff is the largest gain in score at similar or lower loss, with the p-value of the null "
                "that the score depends on loss alone. Checkpoints of one run are not independent: read intervals over "
                "few runs as the least uncertainty there is. Within datasets, within runs: each one's own level taken out, "
                "all together.",
                (
                    Column("data", "trained on"),
                    Column("loss", "loss"),
                    Column("statistic", "statistic"),
                    Column("resampled", "resampled"),
                    Column("shown", "estimate [95%]"),
                    Column("p", "p", "p"),
                    Column("runs", "runs", "count"),
                    Column("points", "checkpoints", "count"),
                ),
                [row | {"shown": interval_text(row, _style(row))} for row in correlations],
            ),
            Figure(
                "training",
                _TRAINING,
                lambda figure: _draw_training(figure, result.tables["training"]),
                "training",
                (8, 3),
            ),
            Table(
                "points",
                "Every checkpoint that was asked: held-out loss as mean over sequences and over tokens, nats.",
                (
                    Column("run", "run"),
                    Column("step", "step", "count"),
                    Column("held_out_loss", "held-out loss (sequences)", "nats"),
                    Column("held_out_token_loss", "(tokens)", "nats"),
                    Column("training_loss", "training loss", "nats"),
                    Column("shown", f"{result.facts['metric']} [95%]"),
                    Column("em_strict", "EM rate, strict", "percent"),
                    Column("em_conditional", "conditional", "percent"),
                ),
                [row | {"shown": interval_text(row, "points")} for row in points],
            ),
        ),
    )


_TRAINING = (
    "Training loss (mean per supervised token, nats; thin) with its running mean, and the learning rate, by step. Of more "
    f"than {MANY} runs: their median, and where nine in ten of them lie."
)


def _caption(result: AnalysisResult) -> str:
    return (
        f"Mean {result.facts['metric']} against held-out in-domain loss along each run, one panel a dataset; the open mark "
        "is the base before training, the largest the end of a run. Bars are 95% intervals over question families."
    )


def _style(row: Any) -> Any:
    return "points" if row["statistic"] == "max_diff" else "r"


def _sentence(data: str, rows: list[Any]) -> Paragraph:
    r = row_where(rows, data=data, loss="held_out_loss", statistic="pearson_log", resampled="runs and questions")
    gain = row_where(rows, data=data, loss="held_out_loss", statistic="max_diff")
    points, runs = r.get("points", 0), r.get("runs", 0)
    few = (
        f" With {points} checkpoint{'s' * (points != 1)} of {runs} run{'s' * (runs != 1)} this is a picture, not evidence."
        if points < FEW or runs < FEW_RUNS
        else ""
    )
    return Paragraph(
        (
            f"{data}: r(log held-out loss, score) = ",
            Number(interval_text(r, "r"), "correlations"),
            "; largest gain at similar or lower loss ",
            Number(value_text(gain["estimate"], "points"), "correlations"),
            f" points (p = {value_text(gain.get('p'), 'p')}",
            *_could_see(gain),
            f").{few}",
        )
    )


def _could_see(gain: Any) -> tuple[Any, ...]:
    """What a null result could have seen: the gain of one run that the design finds four times in five."""
    if gain.get("detectable") is None:
        return ()
    return (
        "; a run better by ",
        Number(value_text(gain["detectable"], "points"), "correlations"),
        " would be found in 80%",
    )


def _draw(figure: Any, points: list[Any], metric: str) -> None:
    groups = _by(points, "data")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, (data, of_data) in zip(panels, groups.items(), strict=True):
        runs = _by(of_data, "run")
        if len(runs) <= MANY:
            for index, (run, mine) in enumerate(runs.items()):
                _draw_run(panel, sorted(mine, key=lambda point: point["step"]), SERIES[index % len(SERIES)], run)
        else:
            _draw_points(panel, of_data)
        panel.set_title(data, fontsize=9)
        panel.set_xlabel("held-out loss, nats")
        if len(runs) <= NAMED:
            panel.legend(frameon=False, fontsize=6.5)
        panel.grid(color="0.92", linewidth=0.6)
    panels[0].set_ylabel(f"mean {metric}, points")


def _draw_run(panel: Any, mine: list[Any], colour: str, run: str) -> None:
    x, y = [point["held_out_loss"] for point in mine], [point["estimate"] for point in mine]
    panel.plot(x, y, "-", color=colour, linewidth=1, label=run)
    for point in mine:
        panel.plot([point["held_out_loss"]] * 2, _interval(point), color=colour, linewidth=0.8, alpha=0.6)
        face = "white" if point["step"] == 0 else colour
        size = 7 if point["last"] else 4.5
        panel.plot(point["held_out_loss"], point["estimate"], "o", color=colour, markerfacecolor=face, markersize=size)


def _draw_points(panel: Any, points: list[Any]) -> None:
    """More runs than can be told apart: all points in one cloud."""
    there = [point for point in points if point["held_out_loss"] is not None and point["estimate"] is not None]
    x = [point["held_out_loss"] for point in there]
    low, high = zip(*map(_interval, there), strict=True)
    panel.vlines(x, low, high, color=SERIES[0], linewidth=0.5, alpha=0.25)
    panel.scatter(x, [point["estimate"] for point in there], s=6, color=SERIES[0], alpha=0.5, linewidths=0)


def _interval(point: Any) -> tuple[float, float]:
    low, high = (point["estimate"] if point[end] is None else point[end] for end in ("low", "high"))
    return low, high


def _draw_training(figure: Any, rows: list[Any]) -> None:
    left, right = figure.subplots(1, 2)
    runs = _by(rows, "run")
    if len(runs) > MANY:
        _draw_spread(left, rows, "loss")
        _draw_spread(right, rows, "learning_rate")
    for index, (run, mine) in enumerate(runs.items() if len(runs) <= MANY else ()):
        steps, loss = [row["step"] for row in mine], [row["loss"] for row in mine]
        colour = SERIES[index % len(SERIES)]
        left.plot(steps, loss, color=colour, linewidth=0.5, alpha=0.5)
        left.plot(steps, _running(loss), color=colour, linewidth=1.5, label=run)
        right.plot(steps, [row["learning_rate"] for row in mine], color=colour, linewidth=1.2)
    left.set_xlabel("step")
    left.set_ylabel("training loss, nats")
    if len(runs) <= NAMED:
        left.legend(frameon=False, fontsize=6.5)
    right.set_xlabel("step")
    right.set_ylabel("learning rate")


def _draw_spread(axes: Any, rows: list[Any], name: str) -> None:
    """More runs than can be told apart: their median at each step, and where nine in ten lie."""
    at = {step: [row[name] for row in some if row[name] is not None] for step, some in _by(rows, "step").items()}
    steps = sorted(step for step, values in at.items() if values)
    low, middle, high = (np.array([np.quantile(at[step], share) for step in steps]) for share in (0.05, 0.5, 0.95))
    axes.fill_between(steps, low, high, color=SERIES[0], alpha=0.2, linewidth=0)
    axes.plot(steps, middle, color=SERIES[0], linewidth=1.5)


def _by(rows: list[Any], name: str) -> dict[Any, list[Any]]:
    """Rows by a column's value, in the order of their first."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return groups


def _running(values: list[float], width: int = 5) -> list[float]:
    return [
        sum(values[max(0, i - width + 1) : i + 1]) / len(values[max(0, i - width + 1) : i + 1])
        for i in range(len(values))
    ]
