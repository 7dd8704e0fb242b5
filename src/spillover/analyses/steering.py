"""Steering: is the mean training shift the change itself? Added to what was before, and to a model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, Scaling, read_direction
from spillover.activations.directions.mean_shift import MeanShift
from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.sites import layer_site
from spillover.activations.steered import Steered
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Block, Column, Figure, Paragraph, Section, Table, columns, paragraph
from spillover.analyses.figures import SERIES, band, coloured, legend, plot, whiskers, zero_line
from spillover.analyses.rows import TableRow, TableRows, prefixed, rows_where
from spillover.analyses.scores import read_scores, refuse_unlike_scores
from spillover.judgements.judgements import Judgements
from spillover.maths.bootstrap import mean
from spillover.maths.estimate import Resampling
from spillover.maths.permutation import exceedance
from spillover.maths.shift import shift_fit
from spillover.records import read_table
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class Steering(Analysis):
    """Whether the training prompts' mean shift foretells the evaluation prompts' activations, and steers answers.

    Estimates, at every layer, the share of the evaluation prompts' own shift (squared length) that adding the training
    prompts' mean shift explains (1 all of it, 0 as much as adding nothing, below 0 worse), beside random directions of
    the same length; and the mean scores (points) of models that answer while the shift is added, with the difference to
    the same model unsteered and its rank among those that random directions make. Intervals are 95%, percentile-t over
    families of questions (docs/method.md, section 3). Coherence stands beside alignment: a push that is large enough
    breaks any model.
    """

    evaluation_before: Activations
    evaluation_after: Activations
    directions: tuple[MeanShift, ...]  # layer by layer
    controls: tuple[RandomDirection, ...] = ()  # like the directions, at their layers
    before: Judgements | None = None  # of the models that are steered, unsteered
    after: Judgements | None = None
    steered: tuple[Judgements, ...] = ()
    metrics: tuple[str, ...] = ("aligned", "coherent")
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        pair = (self.evaluation_before.model, self.evaluation_after.model)
        for direction in self.directions:
            if (direction.before.model, direction.after.model) != pair:
                raise ValueError(f"{direction.summary()}: not the models whose evaluation prompts are given")
        for control in self.controls:
            if control.like not in self.directions:
                raise ValueError(f"{control.summary()}: it is like none of the directions")
        unsteered = {judgements.responses.model for judgements in (self.before, self.after) if judgements}
        for judgements in self.steered:
            model = judgements.responses.model
            if not isinstance(model, Steered) or model.model not in unsteered:
                raise ValueError(f"{model.label()} is no steered version of the models before or after")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        prompts = read_table(context.path(self.evaluation_before) / "prompts.parquet").to_pylist()
        families = [row["family"] for row in prompts]
        rows = [
            self._explained(context, direction, scaling, families)
            for direction in self.directions
            for scaling in get_args(Scaling)
        ]
        answers = self._answers(context)
        tables = {"prompts": rows, "answers": answers}
        if ranked := _ranks(answers):
            tables["against"] = ranked
        return AnalysisResult(tables, {"metrics": list(self.metrics)})

    def show(self, result: AnalysisResult) -> Section:
        rows, answers, ranks = result.tables["prompts"], result.tables["answers"], result.tables.get("against")
        return Section(
            "Data: is the mean shift the change?",
            "Does adding the training prompts' mean shift to the model before training make the model after it?",
            (
                _sentence(rows),
                *_prompt_blocks(rows),
                *(_answer_blocks(answers, result.facts["metrics"]) if answers else ()),
                *((_rank_table(ranks),) if ranks else ()),
            ),
        )

    def _explained(
        self, context: BuildContext, direction: MeanShift, scaling: Scaling, families: Sequence[str]
    ) -> TableRow:
        """One layer and scaling: what the shift explains of each prompt, and what random directions do."""
        site, pooling = layer_site(direction.layer), direction.pooling
        start, end = (
            read_activations(context.path(side), site, pooling).astype(np.float64)
            for side in (self.evaluation_before, self.evaluation_after)
        )
        same = [control for control in self.controls if control.like == direction]
        added: tuple[Direction, ...] = (direction, *same)
        fit, *random = (shift_fit(start, end, read_direction(vector, context.store, scaling)) for vector in added)
        return {
            "layer": direction.layer,
            "pooling": pooling,
            "scaling": scaling,
            **mean(fit.explained, families, resampling=Resampling(self.draws)).as_row(),
            "cosine": float(np.nanmean(fit.cosine)),
            "best_multiple": fit.best,
            "whole": fit.whole,
            "random_explained": float(np.mean([np.nanmean(drawn.explained) for drawn in random])) if random else None,
            "random_whole": float(np.mean([drawn.whole for drawn in random])) if random else None,
            "random_draws": len(random),
        }

    def _answers(self, context: BuildContext) -> TableRows:
        """Mean scores of every model asked, and the difference that steering made to the model it was done to."""
        plain = [judgements for judgements in (self.before, self.after) if judgements]
        if not plain:
            return []
        refuse_unlike_scores((*plain, *self.steered), self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        asked = {
            judgements.responses.model: read_scores(judgements, context.store) for judgements in (*plain, *self.steered)
        }
        rows = []
        for model, scores in asked.items():
            steered = model if isinstance(model, Steered) else None
            for metric in self.metrics:
                row = {
                    "model": model.label(),
                    "steered": steered.model.label() if steered else None,
                    "how": steered.how if steered else None,
                    "layer": steered.direction.layer if steered else None,
                    "scaling": steered.scaling if steered else None,
                    "strength": steered.strength if steered else None,
                    "random": isinstance(steered.direction, RandomDirection) if steered else None,
                    "metric": metric,
                    **scores.mean(metric, resampling).as_row(),
                    **dict.fromkeys(("moved", "moved_low", "moved_high", "moved_p")),
                }
                if steered:
                    row |= prefixed("moved", scores.difference(asked[steered.model], metric, resampling))
                rows.append(row)
        return rows


def _ranks(answers: TableRows) -> TableRows:
    """Each shift's move of a mean score beside those of random directions that were added in the same way.

    as_far: how many of these moved it as far, up or down. p: that the shift is one of them (it among them, by rank).
    """
    same = ("steered", "how", "layer", "scaling", "strength", "metric")
    rows = []
    for shift in rows_where(answers, random=False):
        place = {name: shift[name] for name in same}
        random = [row["moved"] for row in rows_where(answers, random=True, **place)]
        if random:
            p = float(exceedance(np.array(shift["moved"]), np.array(random)))
            row = place | {"moved": shift["moved"], "random_mean": float(np.mean(random))}
            row |= {"random_least": min(random), "random_most": max(random), "random_draws": len(random)}
            rows.append(row | {"as_far": round(p * (1 + len(random))) - 1, "p": p})
    return rows


def _sentence(rows: TableRows) -> Paragraph:
    raw = rows_where(rows, scaling="raw")
    return paragraph(
        "At layer {layer} (the middle one of those looked at) the training prompts' mean shift, added as it is, "
        "explains {estimate:r} of the evaluation prompts' own shift; a random direction of its length "
        "{random_explained:r}.",
        raw[len(raw) // 2],
        "prompts",
    )


def _prompt_blocks(rows: TableRows) -> tuple[Block, ...]:
    return (
        Figure(
            "prompts",
            "Share of the evaluation prompts' own shift (squared length) that adding the training prompts' mean shift "
            "explains, by layer, with 95% intervals over question families; 1 is all of it, 0 what adding nothing "
            "does. Dotted: random directions of the same length.",
            lambda canvas: _draw_prompts(canvas, rows),
            "prompts",
            (8, 2.8),
        ),
        Table(
            "prompts",
            "raw: the mean shift itself; unit: of length 1; matched: as long as a single training prompt's shift. "
            "Best multiple: what the vector would have to be multiplied by; whole: the share that explains.",
            (
                *(Column("layer", "layer", "count"), *columns("text", pooling="pooling", scaling="scaling")),
                Column("estimate", "explained [95%]", "r", interval=True),
                *columns("r", random_explained="random", cosine="cosine", best_multiple="best multiple"),
                *columns("r", whole="whole", random_whole="whole, random"),
            ),
            rows,
        ),
    )


def _answer_blocks(answers: TableRows, metrics: Sequence[str]) -> tuple[Block, ...]:
    return (
        Figure(
            "answers",
            "Mean scores of the models as they are, and steered while they answer, with 95% intervals over question "
            "families. Coherence stands beside alignment: a push that breaks the model lowers both.",
            lambda canvas: _draw_answers(canvas, answers, metrics),
            "answers",
            (8, 0.9 + 0.28 * len({row["model"] for row in answers})),
        ),
        Table(
            "answers",
            "What steering did: the difference to the same model unsteered, answers with the same random numbers.",
            (
                *columns("text", model="model", metric="metric"),
                Column("estimate", "mean [95%]", "points", interval=True),
                Column("moved", "moved by [95%]", "points", interval=True),
                *(Column("moved_p", "p", "p"), Column("n", "questions", "count")),
            ),
            answers,
        ),
    )


def _rank_table(rows: TableRows) -> Table:
    return Table(
        "against",
        "The mean shift's move beside those of random directions of its length that were added in the same way. As "
        "far: how many of them moved the mean as far, up or down; p: by that rank, so that it cannot be below 1 / "
        "(draws + 1).",
        (
            *(Column("steered", "model"), Column("layer", "layer", "count")),
            *(Column("strength", "strength", "r"), Column("metric", "metric")),
            *columns("points", moved="shift moves by", random_mean="random, mean"),
            *columns("points", random_least="least", random_most="most"),
            *(*columns("count", random_draws="draws", as_far="as far"), Column("p", "p", "p")),
        ),
        rows,
    )


def _draw_prompts(canvas: Canvas, rows: TableRows) -> None:
    panel = canvas.subplots()
    drawn = [row for row in rows if row["scaling"] in ("raw", "matched")]
    for scaling, group, colour in coloured(drawn, "scaling"):
        along = sorted(group, key=lambda row: row["layer"])
        band(panel, "layer", along, colour, scaling)
        if all(row["random_explained"] is not None for row in along):
            plot(panel, along, "layer", "random_explained", ":", colour, linewidth=1)
    zero_line(panel)
    panel.set(xlabel="layer", ylabel="share explained")
    legend(panel)


def _draw_answers(canvas: Canvas, rows: TableRows, metrics: Sequence[str]) -> None:
    panels = canvas.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, metric in zip(panels, metrics, strict=True):
        models = rows_where(rows, metric=metric)
        colours = [SERIES[0] if row["random"] is False else "#5b6770" for row in models]
        whiskers(panel, models, [row["model"] for row in models], colours)
        panel.set_xlabel(f"mean {metric}, points")
    for panel in panels[1:]:
        panel.tick_params(axis="y", labelleft=False)
