"""How the priors show themselves. Knows the tables of `priors`, computes nothing."""

from __future__ import annotations

from typing import Any

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
from spillover.analyses.figures import SERIES


def show_priors(result: AnalysisResult) -> Section:
    """Before against after, with what noise allows."""
    tests = result.tables["tests"]
    models = list(dict.fromkeys(row["model"] for row in tests))
    return Section(
        "Model priors: each question before and after",
        "Do questions that scored low before narrow training score low after it?",
        (
            *(_sentence(model, tests) for model in models),
            Figure(
                "before_after",
                f"Mean aligned of each question before ({result.facts['before']}) and after, one panel a model; the grey line "
                "is no change. A slope below 1 is expected of noise alone (regression to the mean).",
                lambda figure: _draw(figure, result.tables["questions"], models),
                "questions",
                (8, 3.4),
            ),
            Table(
                "tests",
                "Means and standard deviations (sd) of the questions' scores, before against after: difference, signed-rank "
                "and Kolmogorov-Smirnov test against whole families changing sides, with Benjamini-Hochberg q over this whole "
                "table (the published tests, which take questions for independent, stand in the CSV), Pearson r, and the r that a perfect relation would show given "
                "the noise of both sides (split-half, Spearman-Brown).",
                (
                    Column("model", "after"),
                    Column("metric", "metric"),
                    Column("of", "of"),
                    Column("scope", "answers"),
                    Column("difference_shown", "difference [95%]"),
                    Column("wilcoxon_family_q", "signed-rank q", "p"),
                    Column("ks_family_q", "KS q", "p"),
                    Column("r_shown", "r [95%]"),
                    Column("attainable_r", "attainable r", "r"),
                    Column("slope", "slope", "r"),
                    Column("n", "questions", "count"),
                ),
                [
                    row | {"difference_shown": _ends(row, "difference", "points"), "r_shown": _ends(row, "r", "r")}
                    for row in tests
                    if row["scope"] == "all"
                ],
            ),
        ),
    )


def _sentence(model: str, tests: list[Any]) -> Paragraph:
    row = row_where(tests, model=model, metric="aligned", of="mean", scope="all")
    if "r" not in row:
        return Paragraph((f"{model}: the judge does not score aligned.",))
    return Paragraph(
        (
            f"{model}: r(before, after) over ",
            Number(str(row["n"]), "tests"),
            " questions = ",
            Number(_ends(row, "r", "r"), "tests"),
            ", where noise allows about ",
            Number(value_text(row["attainable_r"], "r"), "tests"),
            "; the mean moved by ",
            Number(_ends(row, "difference", "points"), "tests"),
            f" points (signed-rank q {value_text(row['wilcoxon_family_q'], 'p')}).",
        )
    )


def _ends(row: Any, name: str, style: Any) -> str:
    return interval_text({"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, style)


def _draw(figure: Any, rows: list[Any], models: list[str]) -> None:
    panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    categories = list(dict.fromkeys(row["category"] for row in rows))
    for panel, model in zip(panels, models, strict=True):
        mine = [row for row in rows if row["model"] == model and row["metric"] == "aligned"]
        for index, category in enumerate(categories):
            part = [row for row in mine if row["category"] == category]
            x, y = [row["before"] for row in part], [row["after"] for row in part]
            panel.plot(x, y, "o", markersize=4, color=SERIES[index % len(SERIES)], label=category, alpha=0.85)
        panel.axline((50, 50), slope=1, color="0.7", linewidth=0.8)
        panel.set_title(model, fontsize=8)
        panel.set_xlabel("before, points")
        panel.set_aspect("equal")
        panel.grid(color="0.92", linewidth=0.6)
    panels[0].set_ylabel("after, points")
    if len(categories) <= 12:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=6.5)
