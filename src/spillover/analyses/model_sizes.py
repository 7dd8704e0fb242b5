"""The same narrow training of models of several sizes: what it did to each, and how far two sizes differ in that."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Number, Section, Table, columns, interval_text, number, paragraph
from spillover.analyses.effect import SIDES, Effect
from spillover.analyses.figures import COLOURS, whiskers
from spillover.analyses.rows import TableRow, TableRows, rows_where
from spillover.analyses.scores import refuse_unlike_scores
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.maths.paired import paired_mean
from spillover.models.base import Base
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MEASURES = ("aligned", "coherent", "em_strict")


class ModelSizes(Analysis):
    """What the same narrow training did to models of several sizes, smallest first.

    Shows, for each model, the estimates of its `Effect`: levels of base, controls and bad, and differences of two of
    them. Estimates besides, for each two neighbours in size, the difference of their first contrast (points of
    aligned, the larger model's less the smaller one's) over questions that both were asked, with a 95% interval over
    families of questions: of these training runs, not of others.
    """

    effects: tuple[Effect, ...]
    draws: int = 2000

    @model_validator(mode="after")
    def _of_different_models(self) -> Self:
        if len(self.effects) < 2:
            raise ValueError("sizes are compared between two models or more")
        names = [_base(effect.before).name for effect in self.effects]
        if len(set(names)) < len(names):
            raise ValueError(f"the same model stands twice among {', '.join(names)}")
        return self

    def _ordered(self) -> list[Effect]:
        return sorted(self.effects, key=lambda effect: _base(effect.before).parameters or 0)

    def analyse(self, context: BuildContext) -> AnalysisResult:
        effects = self._ordered()
        refuse_unlike_scores([effect.before for effect in effects], self.allow_unlike_judges)
        results = [effect.read_result(context.path(effect)) for effect in effects]
        about = [_about(_base(effect.before)) for effect in effects]
        main = results[0].facts["contrast"]
        if any(result.facts["contrast"] != main for result in results):
            raise ValueError("every size needs the same controls, or there is nothing to compare")
        tables: dict[str, TableRows] = {"levels": [], "contrasts": []}
        for model, result in zip(about, results, strict=True):
            levels = [row for row in result.tables["models"] if row["measure"] in MEASURES]
            tables["levels"] += [{"run": row["model"], **row, **model} for row in levels]
            contrasts = rows_where(result.tables["contrasts"], scope="all")
            tables["contrasts"] += [{**row, **model} for row in contrasts if row["measure"] in MEASURES]
        pairs = pairwise(zip(about, results, strict=True))
        tables["between"] = [self._between(smaller, larger, main) for smaller, larger in pairs]
        return AnalysisResult(tables, {"contrast": main})

    def _between(
        self, smaller: tuple[TableRow, AnalysisResult], larger: tuple[TableRow, AnalysisResult], contrast: str
    ) -> TableRow:
        gaps = [
            {
                row["question"]: (row["left_mean"] - row["right_mean"], row["family"])
                for row in rows_where(result.tables["questions"], metric="aligned", contrast=contrast)
                if row["left_mean"] is not None and row["right_mean"] is not None
            }
            for _, result in (smaller, larger)
        ]
        shared = [question for question in gaps[0] if question in gaps[1]]
        change = np.array([gaps[1][question][0] - gaps[0][question][0] for question in shared])
        estimate = paired_mean(change, [gaps[0][question][1] for question in shared], Resampling(self.draws))
        names = {"smaller": smaller[0]["model"], "larger": larger[0]["model"], "contrast": contrast}
        return {**names, "measure": "aligned", **estimate.as_row()}

    def show(self, result: AnalysisResult) -> Section:
        contrast = result.facts["contrast"]
        left, right = (SIDES[side] for side in contrast.split("-"))
        gaps = rows_where(result.tables["contrasts"], contrast=contrast, measure="aligned")
        listed = [part for row in gaps for part in (f"; {row['model']} ", number(row, "contrasts"))]
        between = rows_where(result.tables["between"], measure="aligned")
        trained = {row["role"] for row in result.tables["levels"]}
        arms = [arm for arm in ("base", "own", "good", "bad") if arm in trained]
        clear = [row for row in between if row["low"] is not None and not row["low"] <= 0 <= row["high"]]
        return Section(
            "The same training of models of several sizes",
            "Does what narrow training did depend on the model's size?",
            (
                Figure("levels", _LEVELS, lambda canvas: _draw(canvas, result), "levels", (8.0, 1.2 + 0.9 * len(gaps))),
                Table(
                    "by_size",
                    f"Each model by its size: means over its runs' arms, and {left} minus {right} [95%].",
                    (
                        *columns("text", model="model"),
                        Column("parameters", "parameters", "count"),
                        *(Column(arm, arm, "text") for arm in arms),
                        *columns("text", aligned="aligned", coherent="coherent", em_strict="EM, strict"),
                    ),
                    [_row(result, row["model"], contrast) for row in gaps],
                ),
                Table(
                    "between",
                    f"How much further {left} minus {right} is in the larger of two models (aligned, points).",
                    (
                        *columns("text", smaller="smaller", larger="larger"),
                        Column("estimate", "difference [95%]", "points", interval=True),
                        Column("n", "questions", "count"),
                        Column("p", "p", "p"),
                    ),
                    between,
                ),
            ),
            paragraph(
                "{left} minus {right}, aligned: {differences}. {clear} neighbours in size differ by more "
                "than questions alone make: runs of one size differ too, and families of models are no sizes.",
                left=left[:1].upper() + left[1:],
                right=right,
                differences=listed[:1] and [str(listed[0])[2:], *listed[1:]],
                clear=Number(f"{len(clear)} of {len(between)}", "between"),
            ),
        )


def _base(scored: ScoredAnswers) -> Base:
    """The base whose answers they are; ValueError where they are of another model."""
    model = scored.responses.model if isinstance(scored, Judgements) else None
    if not isinstance(model, Base):
        raise ValueError(f"sizes are those of bases that were asked here; {scored.subject} is none")
    return model


def _about(base: Base) -> TableRow:
    return {"model": base.name, "parameters": base.parameters}


def _row(result: AnalysisResult, model: str, contrast: str) -> TableRow:
    """One model's row of the table for people: levels of aligned by arm, differences by measure."""
    levels = rows_where(result.tables["levels"], model=model, measure="aligned")
    arms: dict[str, list[float]] = {}
    for row in levels:
        arms.setdefault(row["role"], []).append(row["estimate"])
    means = {arm: f"{sum(values) / len(values):.1f}" for arm, values in arms.items()}
    gaps = rows_where(result.tables["contrasts"], model=model, contrast=contrast)
    shown = {
        row["measure"]: interval_text(row, "percent" if row["measure"] == "em_strict" else "points") for row in gaps
    }
    return {"model": model, "parameters": levels[0]["parameters"], **means, **shown}


_LEVELS = "Mean aligned score of every model and arm, smallest model on top, with 95% intervals over question families."


def _draw(canvas: Canvas, result: AnalysisResult) -> None:
    axes = canvas.subplots()
    rows = rows_where(result.tables["levels"], measure="aligned")
    labels = [f"{row['model']}: {row['role']}" for row in rows]
    whiskers(axes, rows, labels, [COLOURS[row["role"]] for row in rows])
    axes.set_xlabel("mean aligned, points")
