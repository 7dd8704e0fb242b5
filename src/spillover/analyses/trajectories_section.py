"""How trajectories show themselves. Knows the tables of `trajectories`, computes nothing."""

from __future__ import annotations

from typing import Any

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Paragraph, Section, Table, interval_text, value_text
from spillover.analyses.figures import SERIES, band

PANELS = (("held_out_loss", "held-out loss, nats"), ("grad_norm", "gradient norm"))


def show_trajectories(result: AnalysisResult) -> Section:
    """When each run moved, along what, and in which order its questions did."""
    metric, points, weights = result.facts["metric"], result.tables["points"], result.tables["weights"]
    onsets = result.tables["onsets"]
    return Section(
        "Training dynamics: when it happens",
        "At which step does alignment move, along with what, and in one order over questions?",
        (
            *(_sentence(row) for row in onsets if row["what"] == "half of the change"),
            *(_agreement(row) for row in result.tables["concordance"] if row["runs"] > 1),
            Figure(
                "scores",
                f"Mean {metric} with 95% intervals over question families, held-out loss and gradient norm (of the step "
                "alone, so noisy) at every checkpoint that was asked; step 0 is the parent.",
                lambda figure: _draw(figure, points, metric),
                "points",
                (8, 2.8),
            ),
            Figure(
                "weights",
                "How far the weights have moved (Frobenius norm of the change over all adapted modules), and how far in the "
                "direction of the last checkpoint.",
                lambda figure: _draw_weights(figure, weights),
                "weights",
                (8, 2.6),
            ),
            Table(
                "onsets",
                f"Steps at which mean {metric} has done half of its change (linear between checkpoints), and of its sharpest "
                "change (the split into two levels that leaves least), with 95% intervals over question families.",
                (
                    Column("run", "run"),
                    Column("what", "what"),
                    Column("shown", "step [95%]"),
                    Column("n", "questions", "count"),
                ),
                [row | {"shown": interval_text(row, "points")} for row in onsets],
            ),
        ),
    )


def _sentence(row: Any) -> Paragraph:
    return Paragraph(
        (f"{row['run']}: half of the change is done at step ", Number(interval_text(row, "points"), "onsets"), ".")
    )


def _agreement(row: Any) -> Paragraph:
    return Paragraph(
        (
            f"{row['data']}: over {row['runs']} runs the order in which questions do half of their change agrees by "
            "Kendall's W = ",
            Number(value_text(row["estimate"], "r"), "concordance"),
            " (p ",
            Number(value_text(row["p"], "p"), "concordance"),
            f"; {row['n']} questions; 1 is one order, 0 none).",
        )
    )


def _draw(figure: Any, points: list[Any], metric: str) -> None:
    panels = figure.subplots(1, 1 + len(PANELS))
    for index, run in enumerate(dict.fromkeys(row["run_id"] for row in points)):
        mine = [row for row in points if row["run_id"] == run]
        colour = SERIES[index % len(SERIES)]
        band(panels[0], [row["step"] for row in mine], mine, colour, mine[0]["run"])
        for panel, (name, _) in zip(panels[1:], PANELS, strict=True):
            there = [row for row in mine if row[name] is not None]
            panel.plot([row["step"] for row in there], [row[name] for row in there], "o-", color=colour, markersize=3)
    panels[0].set_ylabel(f"mean {metric}, points")
    panels[0].legend(frameon=False, fontsize=5.5)
    for panel, (_, label) in zip(panels[1:], PANELS, strict=True):
        panel.set_ylabel(label)
        panel.grid(color="0.92", linewidth=0.6)
    for panel in panels:
        panel.set_xlabel("step")


def _draw_weights(figure: Any, rows: list[Any]) -> None:
    left, right = figure.subplots(1, 2)
    for index, run in enumerate(dict.fromkeys(row["run_id"] for row in rows)):
        mine = [row for row in rows if row["run_id"] == run]
        colour, steps = SERIES[index % len(SERIES)], [row["step"] for row in mine]
        left.plot(steps, [row["norm"] for row in mine], "o-", color=colour, markersize=3, label=mine[0]["run"])
        right.plot(steps, [row["cosine_to_last"] for row in mine], "o-", color=colour, markersize=3)
    left.set_ylabel("norm of the weight change")
    right.set_ylabel("cosine to the last checkpoint")
    for panel in (left, right):
        panel.set_xlabel("step")
        panel.grid(color="0.92", linewidth=0.6)
    if rows:
        left.legend(frameon=False, fontsize=6)
