"""How the prediction shows itself. Knows the table of `prediction`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import Found
from spillover.analyses.figures import SERIES, band
from spillover.analyses.showing import Column, Figure, Number, Paragraph, Section, Table, interval, shown


def show_prediction(found: Found) -> Section:
    """R2 by layer beside baselines and what noise allows."""
    rows, facts = found.tables["layers"], found.facts
    looked = [row for row in rows if row["features"] == "activations"]
    clear = [row for row in looked if row["q"] < 0.05]
    best = max(looked, key=lambda row: row["skill"])
    return Section(
        "Model priors: predicted from activations before training",
        f"Do the activations of {facts['model']} before training foretell which questions {facts['target']} answers badly?",
        (
            Paragraph(
                (
                    f"Ridge regression, {facts['rows']} prompts in {facts['families']} families, targets centred within answer "
                    "format, families never split across folds. ",
                    Number(f"{len(clear)} of {len(looked)}", "layers"),
                    " layer and pooling pairs predict better than chance (permutation of whole families, max-T over all of "
                    "them at 5%). The best is ",
                    Number(f"layer {best['layer']}, {best['pooling']}: R\u00b2 {interval(best, 'r')}", "layers"),
                    f", picked as the best of {len(looked)} and so flattered; ",
                    *_allowed(facts["attainable_r2"]),
                )
            ),
            Figure(
                "r2",
                "Out-of-fold R\u00b2 by layer with Nadeau-Bengio 95% intervals; dashed lines are baselines that need no "
                "activations. Below 0 is worse than predicting the mean.",
                lambda figure: _draw(figure, rows),
                "layers",
                (8, 3.4),
            ),
            Table(
                "layers",
                "The baselines, and the five layers with the highest skill.",
                (
                    Column("features", "features"),
                    Column("layer", "layer", "count"),
                    Column("pooling", "pooling"),
                    Column("shown", "R\u00b2 [95%]"),
                    Column("skill", "skill", "r"),
                    Column("p", "p", "p"),
                    Column("q", "p, max-T", "p"),
                ),
                [
                    row | {"shown": interval(row, "r")}
                    for row in [row for row in rows if row["features"] != "activations"]
                    + sorted(looked, key=lambda row: -row["skill"])[:5]
                ],
            ),
        ),
    )


def _allowed(attainable: float | None) -> tuple[str | Number, ...]:
    """What noise in the questions' means leaves to be predicted; nothing where two halves of the answers disagree."""
    if attainable is None or attainable <= 0:
        value = Number(shown(attainable, "r"), "layers")
        return (
            "two halves of the answers do not agree on which questions score low (attainable R\u00b2 ",
            value,
            ("): with so few answers to a question there is nothing here that could be foretold. Raise per_question."),
        )
    return "noise in the scores allows about ", Number(shown(attainable, "r"), "layers"), "."


def _draw(figure: Any, rows: list[Any]) -> None:
    axes = figure.subplots()
    floor = 0.0
    for index, pooling in enumerate(("last", "mean")):
        mine = [row for row in rows if row["pooling"] == pooling]
        band(
            axes,
            [row["layer"] for row in mine],
            mine,
            SERIES[index],
            f"{pooling} token" if pooling == "last" else pooling,
        )
        floor = min([floor, *(row["estimate"] for row in mine if row["estimate"] is not None)])
    for index, row in enumerate([row for row in rows if row["features"] != "activations"]):
        if row["estimate"] is not None:
            axes.axhline(row["estimate"], linestyle="--", linewidth=1, color=SERIES[index + 2], label=row["features"])
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_ylim(max(-1.5, floor - 0.6), 1.0)
    axes.set_xlabel("layer")
    axes.set_ylabel("R\u00b2")
    axes.legend(frameon=False, fontsize=7, ncols=3)
