"""How steering shows itself. Knows the tables of `steering`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, interval_text, value_text
from spillover.analyses.figures import SERIES, band, whiskers


def show_steering(result: AnalysisResult) -> Section:
    """What the mean shift explains by layer, and what adding it does to answers."""
    rows, answers = result.tables["prompts"], result.tables["answers"]
    blocks: list[Any] = [
        _sentence(rows),
        Figure(
            "prompts",
            "Share of the evaluation prompts' own shift (squared length) that adding the training prompts' mean shift "
            "explains, by layer, with 95% intervals over question families; 1 is all of it, 0 what adding nothing does. "
            "Dotted: random directions of the same length.",
            lambda figure: _draw_prompts(figure, rows),
            "prompts",
            (8, 2.8),
        ),
        Table(
            "prompts",
            "raw: the mean shift itself; unit: of length 1; matched: as long as a single training prompt's shift. Best "
            "multiple: what the vector would have to be multiplied by; whole: the share that explains.",
            (
                Column("layer", "layer", "count"),
                Column("pooling", "pooling"),
                Column("scaling", "scaling"),
                Column("shown", "explained [95%]"),
                Column("random_explained", "random", "r"),
                Column("cosine", "cosine", "r"),
                Column("best_multiple", "best multiple", "r"),
                Column("whole", "whole", "r"),
                Column("random_whole", "whole, random", "r"),
            ),
            [row | {"shown": interval_text(row, "r")} for row in rows],
        ),
    ]
    if answers:
        blocks += _asked(answers, result.facts["metrics"])
    if ranked := result.tables.get("against"):
        blocks.append(_ranked(ranked))
    return Section(
        "Data: is the mean shift the change?",
        "Does adding the training prompts' mean shift to the model before training make the model after it?",
        tuple(blocks),
    )


def _asked(answers: list[Any], metrics: list[str]) -> list[Any]:
    return [
        Figure(
            "answers",
            "Mean scores of the models as they are, and steered while they answer, with 95% intervals over question "
            "families. Coherence stands beside alignment: a push that breaks the model lowers both.",
            lambda figure: _draw_answers(figure, answers, metrics),
            "answers",
            (8, 0.9 + 0.28 * len({row["model"] for row in answers})),
        ),
        Table(
            "answers",
            "What steering did: the difference to the same model unsteered, answers with the same random numbers.",
            (
                Column("model", "model"),
                Column("metric", "metric"),
                Column("shown", "mean [95%]"),
                Column("difference", "moved by [95%]"),
                Column("moved_p", "p", "p"),
                Column("n", "questions", "count"),
            ),
            [row | {"shown": interval_text(row, "points"), "difference": _moved(row)} for row in answers],
        ),
    ]


def _ranked(rows: list[Any]) -> Table:
    return Table(
        "against",
        "The mean shift's move beside those of random directions of its length that were added in the same way. As far: "
        "how many of them moved the mean as far, up or down; p: by that rank, so that it cannot be below 1 / (draws + 1).",
        (
            Column("steered", "model"),
            Column("layer", "layer", "count"),
            Column("strength", "strength", "r"),
            Column("metric", "metric"),
            Column("moved", "shift moves by", "points"),
            Column("random_mean", "random, mean", "points"),
            Column("random_least", "least", "points"),
            Column("random_most", "most", "points"),
            Column("random_draws", "draws", "count"),
            Column("as_far", "as far", "count"),
            Column("p", "p", "p"),
        ),
        rows,
    )


def _moved(row: Any) -> str:
    if row["moved"] is None:
        return value_text(None, "points")
    return interval_text({"estimate": row["moved"], "low": row["moved_low"], "high": row["moved_high"]}, "points")


def _sentence(rows: list[Any]) -> Paragraph:
    raw = [row for row in rows if row["scaling"] == "raw"]
    middle = raw[len(raw) // 2]
    return Paragraph(
        (
            f"At layer {middle['layer']} (the middle one of those looked at) the training prompts' mean shift, added as it "
            "is, explains ",
            Number(interval_text(middle, "r"), "prompts"),
            " of the evaluation prompts' own shift; a random direction of its length ",
            Number(value_text(middle["random_explained"], "r"), "prompts"),
            ".",
        )
    )


def _draw_prompts(figure: Any, rows: list[Any]) -> None:
    panel = figure.subplots()
    for index, scaling in enumerate(("raw", "matched")):
        mine = sorted((row for row in rows if row["scaling"] == scaling), key=lambda row: row["layer"])
        steps = [row["layer"] for row in mine]
        band(panel, steps, mine, SERIES[index], scaling)
        if all(row["random_explained"] is not None for row in mine):
            panel.plot(steps, [row["random_explained"] for row in mine], ":", color=SERIES[index], linewidth=1)
    panel.axhline(0, color="0.3", linewidth=0.8)
    panel.set_xlabel("layer")
    panel.set_ylabel("share explained")
    panel.legend(frameon=False, fontsize=7)


def _draw_answers(figure: Any, rows: list[Any], metrics: list[str]) -> None:
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        mine = [row for row in rows if row["metric"] == metric]
        colours = [SERIES[0] if row["random"] is False else "#5b6770" for row in mine]
        whiskers(panel, mine, [row["model"] for row in mine], colours)
        panel.set_xlabel(f"mean {metric}, points")
    for panel in panels[1:]:
        panel.tick_params(axis="y", labelleft=False)
