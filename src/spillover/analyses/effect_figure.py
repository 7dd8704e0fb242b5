"""The effect in one figure: every model's scores and EM rates, and the differences between the arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Figure
from spillover.analyses.figures import COLOURS, legend, lines_drawn, whiskers
from spillover.analyses.rows import TableRows, rows_where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

CAPTION = (
    "Every model with 95% intervals over question families: mean aligned and coherent (0 to 100), and EM rate (aligned "
    "below 30 and coherent above 50), strict (of all scored answers) and conditional (of coherent ones). Last: the "
    "differences between arms in aligned, over training runs too where an arm has several."
)
ORDER = ("base", "own", "good", "bad")


def effect_figure(result: AnalysisResult) -> Figure:
    """Aligned, coherent and EM rate of every model side by side, and the contrasts of aligned."""
    lines = max(len(lines_drawn(len(result.tables["counts"]))), 6)
    return Figure("models", CAPTION, lambda canvas: _draw(canvas, result), "models", (9.0, max(3.0, 1.0 + 0.3 * lines)))


def _draw(canvas: Canvas, result: AnalysisResult) -> None:
    grid = canvas.add_gridspec(1, 2, width_ratios=(3.4, 1.4))
    left, right = canvas.add_subfigure(grid[0]), canvas.add_subfigure(grid[1])
    panels = left.subplots(1, 3, sharey=True)
    rows = sorted(result.tables["models"], key=lambda row: ORDER.index(row["role"]))
    for panel, measure in zip(panels[:2], ("aligned", "coherent"), strict=True):
        _points(panel, rows_where(rows, measure=measure))
        panel.set_xlabel(f"{measure}, points")
    for measure, offset, marker in (("em_strict", -0.14, "o"), ("em_conditional", 0.14, "D")):
        part = rows_where(rows, measure=measure)
        label = measure.removeprefix("em_")
        whiskers(panels[2], part, None, [COLOURS[row["role"]] for row in part], 100.0, offset, marker, label)
    panels[2].set_xlabel("EM rate, %")
    if rows_where(rows, measure="em_strict"):
        legend(panels[2], 6.5)
    gaps = rows_where(result.tables["contrasts"], measure="aligned", scope="all")
    axes = right.subplots()
    names = [row["contrast"].replace("-", " minus ") for row in gaps]
    whiskers(axes, gaps, names, [COLOURS[row["contrast"].split("-")[0]] for row in gaps])
    axes.axvline(0.0, color="0.3", linewidth=0.8)
    axes.set_xlabel("aligned, points")


def _points(panel: Axes, rows: TableRows) -> None:
    names = [row["model"] for row in rows]
    whiskers(panel, rows, names, [COLOURS[row["role"]] for row in rows])
