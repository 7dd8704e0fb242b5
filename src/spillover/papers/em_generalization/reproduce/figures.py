"""The figures of the reproduction, from the tables beside its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spillover.analyses.blocks import Figure
from spillover.analyses.figures import SERIES, whiskers
from spillover.analyses.rows import TableRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST_PANELS = 8
MOST_LINES = 40


def dynamics_figures(points: Sequence[TableRow]) -> tuple[Figure, ...]:
    """Loss against score, a panel a published row; none without points."""
    names = list(dict.fromkeys(point["row"] for point in points))
    caption = (
        "Mean score of each schedule run against its loss (log scale), one panel a published row over all questions. "
        "Bars are 95% intervals from the answers alone. The line joins the pair behind max_diff: better score at "
        "similar or lower loss."
    )

    def draw(canvas: Canvas) -> None:
        schedules = list(dict.fromkeys(str(point["schedule"]) for point in points))
        panels = _panels(canvas, len(names))
        for panel, name in zip(panels, names, strict=True):
            _draw_points(panel, [point for point in points if point["row"] == name], schedules)
            panel.set_title(name, fontsize=8.5)
        panels[0].legend(frameon=False, fontsize=6)

    size = (8, 2.9 * ((len(names) + 1) // 2))
    return (Figure("loss", caption, draw, "points", size),) if names else ()


def prior_figures(comparisons: Sequence[TableRow]) -> tuple[Figure, ...]:
    """r between harmless before and after; none without such a comparison."""
    rows = [row for row in comparisons if row["metric"] == "harmless_mean_compare"][:MOST_LINES]
    caption = (
        "Pearson r over questions between harmless before and after narrow training, with 95% intervals over question "
        "families; the diamond is the r that the answers' noise leaves attainable, taking 50 answers a question "
        "where their number is not told."
    )

    def draw(canvas: Canvas) -> None:
        panel = canvas.subplots()
        labels = [_short(row["run"]) + " (unlike judges)" * ("unlike judges" in row["note"]) for row in rows]
        whiskers(panel, rows, labels, [SERIES[0]] * len(rows))
        for line, row in enumerate(rows):
            if row["noise_ceiling"] is not None:
                panel.plot([row["noise_ceiling"]], [line], "D", color=SERIES[1], markersize=4)
        _correlation_axis(panel, "r(before, after)")

    return (Figure("comparisons", caption, draw, "comparisons", (8, 0.9 + 0.26 * len(rows))),) if rows else ()


def geometry_figures(claims: Sequence[TableRow], prompts: Sequence[TableRow]) -> tuple[Figure, ...]:
    """r of prompt overlap with shift similarity, and the prompts behind it; none without geometry files."""
    caption = (
        "Correlation over evaluation prompts of prompt overlap with shift similarity, by layer and pooling, with 95% "
        "intervals over prompts. The release tabulates none; the paper states ranges over its runs."
    )
    files = list(dict.fromkeys((row["run"], row["layer"], row["pooling"]) for row in prompts))[:MOST_PANELS]

    def draw_claims(canvas: Canvas) -> None:
        panel = canvas.subplots()
        labels = [f"{row['run'].split('--')[-1]}\n{row['layer']}, {row['pooling']}" for row in claims]
        whiskers(panel, claims, labels, [SERIES["mean" in row["pooling"]] for row in claims])
        _correlation_axis(panel, "r(prompt overlap, shift similarity)")

    def draw_prompts(canvas: Canvas) -> None:
        for panel, (run, layer, pooling) in zip(_panels(canvas, len(files)), files, strict=True):
            rows = [row for row in prompts if (row["run"], row["layer"], row["pooling"]) == (run, layer, pooling)]
            x, y = [row["overlap"] for row in rows], [row["shift_similarity"] for row in rows]
            panel.plot(x, y, "o", markersize=2.4, alpha=0.6, color=SERIES["mean" in pooling])
            panel.set_title(", ".join((run.split("--")[-1], layer, pooling)), fontsize=7)
            panel.set_xlabel("prompt overlap")
            panel.set_ylabel("shift similarity")
            panel.grid(color="0.92", linewidth=0.6)

    forest = Figure("claims", caption, draw_claims, "claims", (8, 0.9 + 0.42 * len(claims)))
    size = (8, 2.7 * ((len(files) + 1) // 2))
    scatter = Figure("prompts", "The prompts behind it, one panel a file.", draw_prompts, "prompts", size)
    return (forest, scatter) if files else (forest,) if claims else ()


def em_rate_figures(rates: Sequence[TableRow]) -> tuple[Figure, ...]:
    """Both rates of each run; none without runs that have answers."""
    runs = list(dict.fromkeys(row["run"] for row in rates))[:MOST_LINES]
    caption = (
        "Share of EM answers, of all scored answers (strict) and of the coherent ones (conditional), with 95% "
        "intervals over question families."
    )

    def draw(canvas: Canvas) -> None:
        panel = canvas.subplots()
        labels = [_short(run) for run in runs]
        for index, kind in enumerate(("strict", "conditional")):
            by_run = {row["run"]: row for row in rates if row["kind"] == kind}
            whiskers(
                panel,
                [by_run[run] for run in runs],
                labels if index == 0 else None,
                [SERIES[index]] * len(runs),
                scale=100.0,
                offset=0.2 * index - 0.1,
                legend=kind,
            )
        panel.set_xlabel("EM rate, %")
        panel.legend(frameon=False, fontsize=7)

    return (Figure("em_rates", caption, draw, "em_rates", (8, 0.9 + 0.34 * len(runs))),) if runs else ()


def _draw_points(panel: Axes, points: Sequence[TableRow], schedules: Sequence[str]) -> None:
    pairs = [(a, b) for a in points for b in points if a is not b and a["x"] <= b["x"]]
    best = max(pairs, key=lambda pair: pair[0]["y"] - pair[1]["y"])
    panel.plot([point["x"] for point in best], [point["y"] for point in best], "-", color="0.25", linewidth=1)
    for index, schedule in enumerate(schedules):
        colour = SERIES[index % len(SERIES)]
        alike = [point for point in points if str(point["schedule"]) == schedule]
        for point in alike:
            reach = 1.96 * point["error"] if point["error"] == point["error"] else 0.0
            ends = [point["y"] - reach, point["y"] + reach]
            panel.plot([point["x"]] * 2, ends, color=colour, linewidth=0.8, alpha=0.6)
        x, y = [point["x"] for point in alike], [point["y"] for point in alike]
        panel.plot(x, y, "o", color=colour, markersize=3.6, label=schedule)
    panel.set_xscale("log")
    panel.minorticks_off()
    lowest, highest = min(point["x"] for point in points), max(point["x"] for point in points)
    ticks = [lowest * (highest / lowest) ** (step / 3) for step in range(4)]
    panel.set_xticks(ticks, [f"{tick:.3f}" for tick in ticks])
    panel.set_xlabel("loss, nats")
    panel.set_ylabel("mean score")
    panel.grid(color="0.92", linewidth=0.6)


def _panels(canvas: Canvas, count: int) -> list[Axes]:
    """So many panels, two in a row."""
    panels: list[Axes] = canvas.subplots((count + 1) // 2, 2, squeeze=False).flatten().tolist()
    for panel in panels[count:]:
        panel.set_axis_off()
    return panels[:count]


def _correlation_axis(panel: Axes, label: str) -> None:
    panel.axvline(0, color="0.3", linewidth=0.8)
    panel.set_xlim(-1, 1)
    panel.set_xlabel(label)


def _short(run: str) -> str:
    return run.removeprefix("eval_").replace("_all_resp_", " ").replace("_", " ")
