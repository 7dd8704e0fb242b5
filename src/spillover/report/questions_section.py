"""Every question with its text, before and after narrow training: a row a question, sorted within its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spillover.analyses.analysis import AnalysisResult
from spillover.analyses.blocks import Figure, interval_text, value_text
from spillover.analyses.figures import lines_drawn, whiskers
from spillover.analyses.rows import TableRow, TableRows, rows_where
from spillover.report.answers import JudgedModel
from spillover.report.answers_section import colour_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

LETTERS, IN_FIGURE = 240, 60  # of a question's text that are shown on the page; in the figure


@dataclass(frozen=True)
class Dot:
    """A model's mean score of a question: points from 0 to 100, and the class of its colour."""

    label: str
    tone: str
    mean: float


@dataclass(frozen=True)
class QuestionRow:
    """A question on the page; `change` is the first contrast's difference with its ends, empty where none was made."""

    question: str
    text: str
    family: str
    category: str
    dots: tuple[Dot, ...]
    change: str
    clear: bool  # by more than chance, at a false-discovery rate of 5%


@dataclass(frozen=True)
class QuestionPart:
    """The rows, what their last column is, the rows as a table, and the same as a figure to export."""

    rows: Sequence[QuestionRow]
    contrast: str
    metric: str
    table: TableRows
    figure: Figure


def question_part(
    models: Sequence[JudgedModel], effect: AnalysisResult | None, metric: str = "aligned"
) -> QuestionPart | None:
    """Each question's mean in the models that stand side by side, the largest fall first, families together."""
    shown = [model for model in models if model.shown and metric in model.metrics]
    if not shown:
        return None
    about, texts = shown[0].scores.questions(), _texts(shown[0])
    names = list(about)
    means = {model.label: model.scores.question_levels(metric, names) for model in shown}
    contrast = str(effect.facts["contrast"]) if effect is not None else ""
    gaps = {row["question"]: row for row in _gaps(effect, contrast, metric)}
    fall = {
        name: _number(
            gaps.get(name, {}).get("estimate"), float(means[shown[-1].label][place] - means[shown[0].label][place])
        )
        for place, name in enumerate(names)
    }
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (fall[name], name)):
        families.setdefault(str(about[name]["family"]), []).append(name)
    order = [name for family in families.values() for name in family]
    table: TableRows = []
    rows = []
    for name in order:
        place, gap = names.index(name), gaps.get(name)
        dots = tuple(
            Dot(model.label, model.tone, float(means[model.label][place]))
            for model in shown
            if np.isfinite(means[model.label][place])
        )
        question = about[name]
        rows.append(
            QuestionRow(
                name,
                _short(texts.get(name, name), LETTERS),
                str(question["family"]),
                str(question["category"]),
                dots,
                interval_text(gap, "points") if gap else value_text(fall[name], "points") if len(shown) > 1 else "",
                bool(gap and gap.get("q") is not None and gap["q"] < 0.05),
            )
        )
        table.append(
            {"question": name, "family": question["family"], "category": question["category"], "text": texts.get(name)}
            | {f"mean {model.label}": float(means[model.label][place]) for model in shown}
            | {f"change {end}": gap.get(end) if gap else None for end in ("estimate", "low", "high", "q")}
        )
    figure = _figure(rows, shown, metric)
    return QuestionPart(rows, contrast.replace("-", " minus ") or "last minus first", metric, table, figure)


def _gaps(effect: AnalysisResult | None, contrast: str, metric: str) -> TableRows:
    return rows_where(effect.tables["questions"], contrast=contrast, metric=metric) if effect is not None else []


def _number(value: object, otherwise: float) -> float:
    number = float(value) if isinstance(value, int | float) else otherwise
    return number if number == number else 0.0


def _texts(model: JudgedModel) -> dict[str, str]:
    """Each question's text as asked without a format, or as it was asked first."""
    texts: dict[str, str] = {}
    plain = model.scores["format"] == "raw"
    for rows in (np.flatnonzero(plain), np.arange(len(plain))):
        for row in rows:
            texts.setdefault(str(model.scores["question"][row]), str(model.scores["prompt"][row] or ""))
    return texts


def _short(text: str, letters: int) -> str:
    text = " ".join(text[: 4 * letters].split())
    return text if len(text) <= letters else f"{text[:letters].rstrip()}\u2026"


def _figure(rows: Sequence[QuestionRow], models: Sequence[JudgedModel], metric: str) -> Figure:
    caption = f"Mean {metric} of each question, by model; questions of a family stand together."
    height = 1.0 + 0.19 * len(lines_drawn(len(rows)))
    return Figure("questions", caption, lambda canvas: _draw(canvas, rows, models, metric), "questions", (8.0, height))


def _draw(canvas: Canvas, rows: Sequence[QuestionRow], models: Sequence[JudgedModel], metric: str) -> None:
    axes = canvas.subplots()
    labels = [_short(row.text, IN_FIGURE).replace("$", r"\$") for row in rows]
    for number, model in enumerate(models):
        by_row: list[Mapping[str, float]] = [{dot.label: dot.mean for dot in row.dots} for row in rows]
        points: list[TableRow] = [{"estimate": dots.get(model.label), "low": None, "high": None} for dots in by_row]
        whiskers(axes, points, None if number else labels, [colour_of(model)] * len(points), legend=model.label)
    axes.set_xlabel(f"mean {metric}, points")
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False, fontsize=7)
