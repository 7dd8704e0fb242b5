"""How training dynamics show themselves. Knows the tables of `dynamics`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import Found
from spillover.analyses.figures import SERIES
from spillover.analyses.showing import Column, Figure, Number, Paragraph, Section, Table, interval, one, shown

FEW, FEW_RUNS = 8, 4  # points and runs below which a correlation is shown with a warning
NAMED = 12  # runs up to which a figure names them


def show_dynamics(found: Found) -> Section:
    """Loss against alignment, the correlations, and the runs themselves."""
    points, found_r = found.tables["points"], found.tables["correlations"]
    return Section(
        "Training dynamics: loss and alignment",
        "Does alignment fall as the narrow training set is learnt, and is any run better aligned at similar or lower loss?",
        (
            *(_sentence(data, found_r) for data in dict.fromkeys(row["data"] for row in points)),
            Figure(
                "loss", _caption(found), lambda figure: _draw(figure, points, found.facts["metric"]), "points", (8, 3.6)
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
                [row | {"shown": interval(row, _style(row))} for row in found_r],
            ),
            Figure(
                "training",
                _TRAINING,
                lambda figure: _draw_training(figure, found.tables["training"]),
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
                    Column("shown", f"{found.facts['metric']} [95%]"),
                    Column("em_strict", "EM rate, strict", "percent"),
                    Column("em_conditional", "conditional", "percent"),
                ),
                [row | {"shown": interval(row, "points")} for row in points],
            ),
        ),
    )


_TRAINING = (
    "Training loss (mean per supervised token, nats; thin) with its running mean, and the learning rate, by step."
)


def _caption(found: Found) -> str:
    return (
        f"Mean {found.facts['metric']} against held-out in-domain loss along each run, one panel a dataset; the open mark "
        "is the base before training, the largest the end of a run. Bars are 95% intervals over question families."
    )


def _style(row: Any) -> Any:
    return "points" if row["statistic"] == "max_diff" else "r"


def _sentence(data: str, rows: list[Any]) -> Paragraph:
    r = one(rows, data=data, loss="held_out_loss", statistic="pearson_log", resampled="runs and questions")
    gain = one(rows, data=data, loss="held_out_loss", statistic="max_diff")
    points, runs = r.get("points", 0), r.get("runs", 0)
    few = (
        f" With {points} checkpoint{'s' * (points != 1)} of {runs} run{'s' * (runs != 1)} this is a picture, not evidence."
        if points < FEW or runs < FEW_RUNS
        else ""
    )
    return Paragraph(
        (
            f"{data}: r(log held-out loss, score) = ",
            Number(interval(r, "r"), "correlations"),
            "; largest gain at similar or lower loss ",
            Number(shown(gain["estimate"], "points"), "correlations"),
            f" points (p = {shown(gain.get('p'), 'p')}",
            *_could_see(gain),
            f").{few}",
        )
    )


def _could_see(gain: Any) -> tuple[Any, ...]:
    """What a null result could have seen: the gain of one run that the design finds four times in five."""
    if gain.get("detectable") is None:
        return ()
    return "; a run better by ", Number(shown(gain["detectable"], "points"), "correlations"), " would be found in 80%"


def _draw(figure: Any, points: list[Any], metric: str) -> None:
    groups = list(dict.fromkeys(point["data"] for point in points))
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, data in zip(panels, groups, strict=True):
        runs = list(dict.fromkeys(point["run"] for point in points if point["data"] == data))
        for index, run in enumerate(runs):
            mine = sorted((point for point in points if point["run"] == run), key=lambda point: point["step"])
            colour = SERIES[index % len(SERIES)]
            x, y = [point["held_out_loss"] for point in mine], [point["estimate"] for point in mine]
            panel.plot(x, y, "-", color=colour, linewidth=1, label=run)
            for point in mine:
                low, high = (point["estimate"] if point[end] is None else point[end] for end in ("low", "high"))
                panel.plot([point["held_out_loss"]] * 2, [low, high], color=colour, linewidth=0.8, alpha=0.6)
                face = "white" if point["step"] == 0 else colour
                size = 7 if point["last"] else 4.5
                panel.plot(
                    point["held_out_loss"], point["estimate"], "o", color=colour, markerfacecolor=face, markersize=size
                )
        panel.set_title(data, fontsize=9)
        panel.set_xlabel("held-out loss, nats")
        if len(runs) <= NAMED:
            panel.legend(frameon=False, fontsize=6.5)
        panel.grid(color="0.92", linewidth=0.6)
    panels[0].set_ylabel(f"mean {metric}, points")


def _draw_training(figure: Any, rows: list[Any]) -> None:
    left, right = figure.subplots(1, 2)
    for index, run in enumerate(dict.fromkeys(row["run"] for row in rows)):
        mine = [row for row in rows if row["run"] == run]
        steps, loss = [row["step"] for row in mine], [row["loss"] for row in mine]
        colour = SERIES[index % len(SERIES)]
        left.plot(steps, loss, color=colour, linewidth=0.5, alpha=0.5)
        left.plot(steps, _running(loss), color=colour, linewidth=1.5, label=run)
        right.plot(steps, [row["learning_rate"] for row in mine], color=colour, linewidth=1.2)
    left.set_xlabel("step")
    left.set_ylabel("training loss, nats")
    if len(left.lines) <= 2 * NAMED:
        left.legend(frameon=False, fontsize=6.5)
    right.set_xlabel("step")
    right.set_ylabel("learning rate")


def _running(values: list[float], width: int = 5) -> list[float]:
    return [
        sum(values[max(0, i - width + 1) : i + 1]) / len(values[max(0, i - width + 1) : i + 1])
        for i in range(len(values))
    ]
