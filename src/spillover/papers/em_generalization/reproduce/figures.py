"""The figures of a reproduction. Knows the tables it draws; computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spillover.analyses.blocks import Figure
from spillover.analyses.figures import SERIES, whiskers

Rows = list[dict[str, Any]]


def _dynamics(tables: Mapping[str, Rows]) -> list[Figure]:
    points = tables.get("points", [])
    if not points:
        return []
    names = list(dict.fromkeys(row["row"] for row in points))
    caption = (
        "Mean score of each schedule run against its loss (log scale), one panel a published row over all questions. "
        "Bars are 95% intervals from the answers alone. The line joins the pair behind max_diff: better score at "
        "similar or lower loss."
    )
    high = 2.9 * ((len(names) + 1) // 2)
    figure = Figure("loss", caption, lambda figure: draw_points(figure, points, names), "points", (8, high))
    return [figure]


def draw_points(figure: Any, points: Rows, names: Sequence[str]) -> None:
    """Loss against score, a panel a row."""
    panels = figure.subplots((len(names) + 1) // 2, 2, squeeze=False).flatten()
    kinds = list(dict.fromkeys(str(point["schedule"]) for point in points))
    for panel, name in zip(panels, names, strict=False):
        mine = [point for point in points if point["row"] == name]
        pairs = [(a, b) for a in mine for b in mine if a is not b and a["x"] <= b["x"]]
        best = max(pairs, key=lambda pair: pair[0]["y"] - pair[1]["y"])
        panel.plot([one["x"] for one in best], [one["y"] for one in best], "-", color="0.25", linewidth=1)
        for at, kind in enumerate(kinds):
            some = [point for point in mine if str(point["schedule"]) == kind]
            for point in some:
                reach = 1.96 * point["error"] if point["error"] == point["error"] else 0.0
                ends = [point["y"] - reach, point["y"] + reach]
                panel.plot([point["x"]] * 2, ends, color=SERIES[at % len(SERIES)], linewidth=0.8, alpha=0.6)
            x, y = [point["x"] for point in some], [point["y"] for point in some]
            panel.plot(x, y, "o", color=SERIES[at % len(SERIES)], markersize=3.6, label=kind)
        panel.set_xscale("log")
        panel.minorticks_off()
        lowest, highest = min(point["x"] for point in mine), max(point["x"] for point in mine)
        ticks = [lowest * (highest / lowest) ** (step / 3) for step in range(4)]
        panel.set_xticks(ticks, [f"{progress:.3f}" for progress in ticks])
        panel.set_title(name, fontsize=8.5)
        panel.set_xlabel("loss, nats")
        panel.set_ylabel("mean score")
        panel.grid(color="0.92", linewidth=0.6)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    panels[0].legend(frameon=False, fontsize=6)


def _geometry(tables: Mapping[str, Rows]) -> list[Figure]:
    claims, prompts = tables.get("claims", []), tables.get("prompts", [])
    if not claims:
        return []
    caption = (
        "Correlation over evaluation prompts of prompt overlap with shift similarity, by layer and pooling, with 95% "
        "intervals over prompts. The release tabulates none; the paper states ranges over its runs."
    )
    labels = [f"{row['run'].split('--')[-1]}\n{row['layer']}, {row['pooling']}" for row in claims]
    colours = [SERIES["mean" in row["pooling"]] for row in claims]
    forest = Figure(
        "claims",
        caption,
        lambda figure: _draw_claims(figure, claims, labels, colours),
        "claims",
        (8, 0.9 + 0.42 * len(claims)),
    )
    below = "The prompts behind it, one panel a file."
    places = list(dict.fromkeys((row["run"], row["layer"], row["pooling"]) for row in prompts))[:8]
    size = (8, 2.7 * ((len(places) + 1) // 2))
    scatter = Figure("prompts", below, lambda figure: _draw_prompts(figure, prompts, places), "prompts", size)
    return [forest, scatter] if places else [forest]


def _draw_claims(figure: Any, claims: Rows, labels: Sequence[str], colours: Sequence[str]) -> None:
    panel = figure.subplots()
    whiskers(panel, claims, labels, colours)
    panel.axvline(0, color="0.3", linewidth=0.8)
    panel.set_xlim(-1, 1)
    panel.set_xlabel("r(prompt overlap, shift similarity)")


def _draw_prompts(figure: Any, prompts: Rows, places: Sequence[tuple[str, str, str]]) -> None:
    panels = figure.subplots((len(places) + 1) // 2, 2, squeeze=False).flatten()
    for panel, place in zip(panels, places, strict=False):
        mine = [row for row in prompts if (row["run"], row["layer"], row["pooling"]) == place]
        x, y = [row["overlap"] for row in mine], [row["shift_similarity"] for row in mine]
        panel.plot(x, y, "o", markersize=2.4, alpha=0.6, color=SERIES["mean" in place[2]])
        panel.set_title(", ".join((place[0].split("--")[-1], *place[1:])), fontsize=7)
        panel.set_xlabel("prompt overlap")
        panel.set_ylabel("shift similarity")
        panel.grid(color="0.92", linewidth=0.6)
    for panel in panels[len(places) :]:
        panel.set_axis_off()


def _prior(tables: Mapping[str, Rows]) -> list[Figure]:
    rows = [row for row in tables.get("comparisons", []) if row["metric"] == "harmless_mean_compare"][:40]
    if not rows:
        return []
    caption = (
        "Pearson r over questions between harmless before and after narrow training, with 95% intervals over question "
        "families; the diamond is the r that the answers' noise leaves attainable, taking 50 answers a question "
        "where their number is not told."
    )
    size = (8, 0.9 + 0.26 * len(rows))
    figure = Figure("comparisons", caption, lambda figure: _draw_prior(figure, rows), "comparisons", size)
    return [figure]


def _draw_prior(figure: Any, rows: Rows) -> None:
    panel = figure.subplots()
    labels = [_short(row["run"]) + " (unlike judges)" * ("unlike judges" in row["note"]) for row in rows]
    whiskers(panel, rows, labels, [SERIES[0]] * len(rows))
    for at, row in enumerate(rows):
        if row["noise_ceiling"] is not None:
            panel.plot([row["noise_ceiling"]], [at], "D", color=SERIES[1], markersize=4)
    panel.axvline(0, color="0.3", linewidth=0.8)
    panel.set_xlim(-1, 1)
    panel.set_xlabel("r(before, after)")


def _em_rates(tables: Mapping[str, Rows]) -> list[Figure]:
    rows = tables.get("em_rates", [])
    runs = list(dict.fromkeys(row["run"] for row in rows))[:40]
    if not runs:
        return []
    caption = (
        "Share of EM answers, of all scored answers (strict) and of the coherent ones (conditional), with 95% "
        "intervals over question families."
    )
    size = (8, 0.9 + 0.34 * len(runs))
    figure = Figure("em_rates", caption, lambda figure: _draw_em_rates(figure, rows, runs), "em_rates", size)
    return [figure]


def _draw_em_rates(figure: Any, rows: Rows, runs: Sequence[str]) -> None:
    panel = figure.subplots()
    labels = [_short(run) for run in runs]
    for at, kind in enumerate(("strict", "conditional")):
        found = {row["run"]: row for row in rows if row["kind"] == kind}
        mine = [found[run] for run in runs]
        named = labels if at == 0 else None
        whiskers(panel, mine, named, [SERIES[at]] * len(mine), scale=100.0, offset=0.2 * at - 0.1, legend=kind)
    panel.set_xlabel("EM rate, %")
    panel.legend(frameon=False, fontsize=7)


def _short(run: str) -> str:
    return run.removeprefix("eval_").replace("_all_resp_", " ").replace("_", " ")


FIGURES: Mapping[str, Callable[[Mapping[str, Rows]], list[Figure]]] = {
    "dynamics": _dynamics,
    "prior": _prior,
    "geometry": _geometry,
    "em_rate": _em_rates,
}


def figures_of(part: str, tables: Mapping[str, Rows]) -> list[Figure]:
    """A part's figures, from its tables; none for most parts."""
    return FIGURES[part](tables) if part in FIGURES else []
