"""How the prediction shows itself. Knows the table of `prediction`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, interval_text, value_text
from spillover.analyses.figures import SERIES, band

FITTED = {"ridge": "Ridge regression", "linear": "Least squares", "lasso": "Lasso"}
GROUPS = {"family": "families", "category": "categories"}


def show_prediction(result: AnalysisResult) -> Section:
    """R2 by layer beside baselines and what noise allows."""
    rows, facts = result.tables["layers"], result.facts
    looked = [row for row in rows if row["features"].startswith("activations")]
    several = facts.get("targets", 1) > 1
    clear = [row for row in looked if row["q"] < 0.05]
    best = max(looked, key=lambda row: row["skill"])
    return Section(
        "Model priors: predicted from activations before training",
        f"Do the activations of {facts['model']} before training foretell which questions {facts['target']} answers badly?",
        (
            Paragraph(
                (
                    f"{FITTED[facts.get('fitted', 'ridge')]}, {facts['rows']} prompts in {facts['families']} families, targets centred within answer "
                    f"format, {GROUPS[facts.get('grouped_by', 'family')]} never split across folds. ",
                    Number(f"{len(clear)} of {len(looked)}", "layers"),
                    f" layer{', pooling and target triples' if several else ' and pooling pairs'} predict better than chance "
                    "(permutation of whole families, max-T over all of them at 5%). The best is ",
                    Number(f"layer {best['layer']}, {best['pooling']}: R\u00b2 {interval_text(best, 'r')}", "layers"),
                    f", picked as the best of {len(looked)} and so flattered; ",
                    *_allowed(facts["attainable_r2"]),
                )
            ),
            Figure(
                "r2",
                "Out-of-fold R\u00b2 by layer with Nadeau-Bengio 95% intervals; dashed lines are baselines that need no "
                "activations. Below 0 is worse than predicting the mean.",
                lambda figure: _draw(figure, [row for row in rows if row.get("target") == rows[0].get("target")]),
                "layers",
                (8, 3.4),
            ),
            Table(
                "layers",
                "The baselines, and the five layers with the highest skill.",
                (
                    Column("features", "features"),
                    *((Column("target", "target"),) if several else ()),
                    Column("layer", "layer", "count"),
                    Column("pooling", "pooling"),
                    Column("shown", "R\u00b2 [95%]"),
                    Column("skill", "skill", "r"),
                    Column("p", "p", "p"),
                    Column("q", "p, max-T", "p"),
                ),
                [
                    row | {"shown": interval_text(row, "r")}
                    for row in [row for row in rows if row not in looked]
                    + sorted(looked, key=lambda row: -row["skill"])[:5]
                ],
            ),
            *_more(result),
        ),
    )


def _more(result: AnalysisResult) -> tuple[Table, ...]:
    """Tables of what was asked for beside layers and baselines."""
    place = (Column("layer", "layer", "count"), Column("pooling", "pooling"), Column("target", "target"))
    about = {
        "random": (
            "R\u00b2 of random axes over many draws, and the share of draws that reach that of the principal axes.",
            (
                *place,
                Column("median", "median R\u00b2", "r"),
                Column("shown", "R\u00b2, 95% of draws"),
                Column("p", "p", "p"),
            ),
        ),
        "against": (
            "R\u00b2 less that of another model's activations at the same relative depth, split by split, with the Nadeau-Bengio interval. Whether it is 0 is tested place by place, uncorrected.",
            (*place, Column("other", "other model"), Column("shown", "difference [95%]"), Column("p", "p", "p")),
        ),
        "transfer": (
            "R\u00b2 of predictions fitted to one organism's scores, held against another's, on questions held out.",
            (
                Column("features", "features"),
                *place,
                Column("organism", "organism"),
                Column("shown", "R\u00b2 [95%]"),
                Column("r2_own", "its own", "r"),
            ),
        ),
    }
    return tuple(
        Table(
            name,
            caption,
            columns,
            [
                row | {"shown": interval_text({"estimate": row.get("median"), **row}, "r")}
                for row in result.tables[name]
            ],
        )
        for name, (caption, columns) in about.items()
        if name in result.tables
    )


def _allowed(attainable: float | None) -> tuple[str | Number, ...]:
    """What noise in the questions' means leaves to be predicted; nothing where two halves of the answers disagree."""
    if attainable is None or attainable <= 0:
        value = Number(value_text(attainable, "r"), "layers")
        return (
            "two halves of the answers do not agree on which questions score low (attainable R\u00b2 ",
            value,
            ("): with so few answers to a question there is nothing here that could be foretold. Raise per_question."),
        )
    return "noise in the scores allows about ", Number(value_text(attainable, "r"), "layers"), "."


def _draw(figure: Any, rows: list[Any]) -> None:
    axes = figure.subplots()
    floor, first = 0.0, rows[0]["features"]
    for index, pooling in enumerate(("last", "mean")):
        mine = [row for row in rows if row["pooling"] == pooling and row["features"] == first]
        band(
            axes,
            [row["layer"] for row in mine],
            mine,
            SERIES[index],
            f"{pooling} token" if pooling == "last" else pooling,
        )
        floor = min([floor, *(row["estimate"] for row in mine if row["estimate"] is not None)])
    for index, row in enumerate([row for row in rows if row["layer"] is None]):
        if row["estimate"] is not None:
            axes.axhline(row["estimate"], linestyle="--", linewidth=1, color=SERIES[index + 2], label=row["features"])
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_ylim(max(-1.5, floor - 0.6), 1.0)
    axes.set_xlabel("layer")
    axes.set_ylabel("R\u00b2")
    axes.legend(frameon=False, fontsize=7, ncols=3)
