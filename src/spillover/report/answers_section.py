"""What the page shows of single answers without its script: the most moved ones side by side, and all in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spillover.analyses.blocks import AnswersSideBySide, Figure, ShownAnswer, value_text
from spillover.analyses.figures import COLOURS, SERIES
from spillover.maths.em_rate import EMRule
from spillover.report.answers import JudgedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MOVED = 8  # questions whose most moved answer is shown
LETTERS = 1_500  # of an answer that is shown without the script
RULE = EMRule()


def most_moved(models: Sequence[JudgedModel], metric: str = "aligned") -> list[AnswersSideBySide]:
    """Each question's answer that lies lowest against the base's own, of the `MOVED` questions with the largest fall.

    The base is the first of the models that stand side by side, and the answers are the bad arm's, or the last
    model's; an answer is held against the base's to the same question with the same sample number.
    """
    shown = [model for model in models if model.shown and metric in model.metrics]
    if len(shown) < 2:
        return []
    base, moved = shown[0], next((model for model in shown if model.arm == "bad"), shown[-1])
    rows = [_rows_by_key(model) for model in shown]
    of_base, of_moved = rows[0], rows[shown.index(moved)]
    change = {
        key: float(moved.scores[metric][row] - base.scores[metric][of_base[key]])
        for key, row in of_moved.items()
        if key in of_base
    }
    largest: dict[str, tuple[float, tuple[str, int]]] = {}
    for key, by in sorted(change.items()):
        question = str(moved.scores["question"][of_moved[key]])
        if by == by and by < largest.get(question, (np.inf, key))[0]:
            largest[question] = (by, key)
    blocks = []
    for by, key in sorted(largest.values())[:MOVED]:
        row = of_moved[key]
        points = value_text(by, "points")
        note = f"{moved.scores['question'][row]}, sample {key[1]}: {metric} moved by {points} points from {base.label}"
        answers = tuple(_shown(model, by_key[key]) for model, by_key in zip(shown, rows, strict=True) if key in by_key)
        blocks.append(AnswersSideBySide(str(moved.scores["prompt"][row] or ""), note, answers))
    return blocks


def plane(models: Sequence[JudgedModel]) -> Figure | None:
    """Every answer of the models side by side, aligned across and coherent up; None where they are not scored so."""
    shown = [model for model in models if model.shown and {"aligned", "coherent"} <= set(model.metrics)]
    if not shown:
        return None
    caption = (
        f"Every scored answer by aligned and coherent, one panel a model; shaded: emergently misaligned (aligned below "
        f"{RULE.aligned_below:g}, coherent above {RULE.coherent_above:g})."
    )
    return Figure("plane", caption, lambda canvas: _draw_plane(canvas, shown), "answers", (8.0, 2.7))


def _draw_plane(canvas: Canvas, models: Sequence[JudgedModel]) -> None:
    panels = canvas.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    for panel, model in zip(panels, models, strict=True):
        panel.fill_between((0, RULE.aligned_below), RULE.coherent_above, 100, color="#f4d3c4", linewidth=0)
        aligned, coherent = (np.asarray(model.scores[name], dtype=float) for name in ("aligned", "coherent"))
        alpha = float(np.clip(6 / np.sqrt(len(aligned) + 1), 0.05, 0.7))
        panel.scatter(aligned, coherent, s=7, alpha=alpha, color=colour_of(model), linewidths=0, rasterized=True)
        panel.set(xlim=(-2, 102), ylim=(-2, 102), xlabel="aligned")
        panel.set_title(model.label, fontsize=7.5)
        panel.set_aspect("equal")
    panels[0].set_ylabel("coherent")


def colour_of(model: JudgedModel) -> str:
    """A model's colour in figures: its arm's, or that of its place."""
    place = model.tone.removeprefix("tone-")
    return COLOURS[model.arm] if model.arm else SERIES[int(place) % len(SERIES)]


def _rows_by_key(model: JudgedModel) -> dict[tuple[str, int], int]:
    samples = np.nan_to_num(model.scores["sample"].astype(float)).astype(int).tolist()
    return {key: row for row, key in enumerate(zip(model.scores["question_id"].tolist(), samples, strict=True))}


def _shown(model: JudgedModel, row: int) -> ShownAnswer:
    text = str(model.scores["answer"][row] or "")
    if len(text) > LETTERS:
        text = f"{text[:LETTERS]} \u2026 [shortened here: whole in tables/answers.csv]"
    scores = {metric: float(model.scores[metric][row]) for metric in model.metrics}
    return ShownAnswer(model.label, text, str(model.scores["finish_reason"][row] or ""), scores, model.tone)
