"""How the geometry shows itself. Knows the tables of `geometry`, computes nothing."""

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
from spillover.analyses.figures import SERIES, band


def show_geometry(result: AnalysisResult) -> Section:
    """The correlation by layer and pooling, one layer in full, and the controls."""
    rows, middle = result.tables["layers"], result.facts["middle"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    share = f"{100 * result.facts['variance']:.0f}%"
    return Section(
        "Data: how the training prompts' shift carries over",
        "Do evaluation prompts that lie in the space of the training prompts before training shift like them?",
        (
            *(_sentence(model, rows, middle) for model in models),
            Figure(
                "layers",
                "Correlation over evaluation prompts between prompt overlap (with the training prompts' axes that hold "
                f"{share} of their variance) and shift similarity, by layer, with 95% intervals over question families. "
                "Dotted: the same with random axes of the same number (mean of many draws).",
                lambda figure: _draw_layers(figure, rows, models),
                "layers",
                (8, 3.4),
            ),
            Figure(
                "prompts",
                f"The prompts behind it at layer {middle}, the middle one of those looked at, fixed beforehand; last prompt token.",
                lambda figure: _draw_prompts(figure, result.tables["prompts"], models, middle),
                "prompts",
                (8, 3.2),
            ),
            Table(
                "layers",
                "Last prompt token. Overlap of evaluation prompts beside its controls: random axes of the same k, and axes "
                "of the other evaluation prompts. r as published; partial r given activation norm, prompt length and answer "
                "format, with its p by permutation of whole families, max-T over layers and poolings of one model. Words alone: r "
                "of shift similarity with the likeness of a prompt's words to the training prompts', no model asked.",
                (
                    Column("model", "after"),
                    Column("layer", "layer", "count"),
                    Column("k", "k", "count"),
                    Column("overlap", "overlap", "r"),
                    Column("random_overlap", "random", "r"),
                    Column("evaluation_overlap", "own set", "r"),
                    Column("similarity", "shift similarity", "r"),
                    Column("shown", "r [95%]"),
                    Column("words_alike_r", "r, words alone", "r"),
                    Column("partial", "partial r", "r"),
                    Column("partial_q", "p, max-T", "p"),
                    Column("random_p", "p, random axes", "p"),
                ),
                [
                    row | {"shown": interval_text(row, "r")}
                    for row in rows
                    if row["pooling"] == "last" and _kept(row, result)
                ],
            ),
            _axes(result, middle),
        ),
    )


def _axes(result: AnalysisResult, middle: int) -> Table:
    return Table(
        "sweep",
        f"Numbers of axes at layer {middle}, last prompt token: evaluation prompts in the training prompts' axes, and "
        "their shifts in the axes of the training prompts' shifts. Explained: share of the squared length, beside what "
        "random axes explain (k / d, exactly). Shared: mean squared cosine of the principal angles with as many axes of "
        "the evaluation prompts themselves. r: of overlap with shift similarity, without a test.",
        (
            Column("model", "after"),
            Column("of", "of"),
            Column("k", "k", "count"),
            Column("share", "variance held", "r"),
            Column("overlap", "overlap", "r"),
            Column("explained", "explained", "r"),
            Column("random_explained", "random", "r"),
            Column("reconstruction_cosine", "reconstruction cosine", "r"),
            Column("shared", "shared", "r"),
            Column("r", "r", "r"),
        ),
        [row for row in result.tables["sweep"] if row["layer"] == middle and row["pooling"] == "last"],
    )


def _kept(row: Any, result: AnalysisResult) -> bool:
    """Every fourth of the layers, the middle one and the last: the page shows the course, the CSV has them all."""
    looked = result.facts["layers"]
    return bool(looked.index(row["layer"]) % 4 == 0 or row["layer"] in (looked[-1], result.facts["middle"]))


def _sentence(model: str, rows: list[Any], middle: int) -> Paragraph:
    last, mean = (row_where(rows, model=model, layer=middle, pooling=pooling) for pooling in ("last", "mean"))
    return Paragraph(
        (
            f"{model}, layer {middle} (the middle one of those looked at): r(overlap, shift similarity) = ",
            Number(interval_text(last, "r"), "layers"),
            " at the last prompt token (",
            Number(value_text(last.get("partial"), "r"), "layers"),
            " given norm, length and format, p ",
            Number(value_text(last.get("partial_q"), "p"), "layers"),
            ", corrected over layers) and ",
            Number(interval_text(mean, "r"), "layers"),
            " for the mean over the prompt. Evaluation prompts overlap the training prompts' axes by ",
            Number(value_text(last.get("overlap"), "r"), "layers"),
            ", random axes by ",
            Number(value_text(last.get("random_overlap"), "r"), "layers"),
            "; the two sets' mean shifts have cosine ",
            Number(value_text(last.get("cosine_of_means"), "r"), "layers"),
            ".",
        )
    )


def _draw_layers(figure: Any, rows: list[Any], models: list[str]) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for panel, pooling in zip(panels, ("last", "mean"), strict=True):
        for index, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model and row["pooling"] == pooling]
            steps = [row["layer"] for row in mine]
            band(panel, steps, mine, SERIES[index], model)
            panel.plot(steps, [row["random_r"] for row in mine], ":", color=SERIES[index], linewidth=1)
        panel.axhline(0, color="0.3", linewidth=0.8)
        panel.set_title("last prompt token" if pooling == "last" else "mean over the prompt", fontsize=9)
        panel.set_xlabel("layer")
    panels[0].set_ylabel("r(overlap, shift similarity)")
    panels[0].set_ylim(-1, 1)
    panels[0].legend(frameon=False, fontsize=7)


def _draw_prompts(figure: Any, rows: list[Any], models: list[str], middle: int) -> None:
    panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for panel, model in zip(panels, models, strict=True):
        mine = [row for row in rows if (row["model"], row["layer"], row["pooling"]) == (model, middle, "last")]
        for index, format in enumerate(dict.fromkeys(row["format"] for row in mine)):
            part = [row for row in mine if row["format"] == format]
            x, y = [row["overlap"] for row in part], [row["shift_similarity"] for row in part]
            panel.plot(x, y, "o", markersize=3.5, color=SERIES[index + 2], label=format, alpha=0.8)
        panel.set_title(model, fontsize=8)
        panel.set_xlabel("prompt overlap")
        panel.grid(color="0.92", linewidth=0.6)
    panels[0].set_ylabel("shift similarity")
    panels[0].legend(frameon=False, fontsize=7, title="asked as", title_fontsize=7)
