"""Steering: is the mean training shift the change itself? Added to what was before, and to a model that answers.

docs/method.md, section 3. A random direction of the same length is the control;
coherence stands beside alignment, since any push that is large enough breaks a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, read_direction
from spillover.activations.sites import layer_site
from spillover.activations.steered import Steered
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.scores import read, refuse_unlike
from spillover.analyses.steering_section import show_steering
from spillover.judgements.judgements import Judgements
from spillover.maths.bootstrap import mean, mean_of_groups
from spillover.maths.estimate import Resampling
from spillover.maths.paired import difference
from spillover.maths.permutation import exceedance
from spillover.maths.shift import shift_fit
from spillover.records import read_table
from spillover.store import BuildContext

SCALINGS = ("raw", "unit", "matched")


class Steering(Analysis):
    """Whether the training prompts' mean shift foretells the evaluation prompts' activations, and steers answers."""

    evaluation_before: Activations
    evaluation_after: Activations
    directions: tuple[Direction, ...]  # the mean shift, layer by layer
    controls: tuple[Direction, ...] = ()  # random directions of the same layers
    before: Judgements | None = None  # of the models that are steered, unsteered
    after: Judgements | None = None
    steered: tuple[Judgements, ...] = ()
    metrics: tuple[str, ...] = ("aligned", "coherent")
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        pair = (self.evaluation_before.model, self.evaluation_after.model)
        for one in (*self.directions, *self.controls):
            if (one.before.model, one.after.model) != pair:
                raise ValueError(f"{one.summary()}: not the models whose evaluation prompts are given")
        if any(one.random is not None for one in self.directions) or any(one.random is None for one in self.controls):
            raise ValueError("directions are shifts, controls are random directions")
        unsteered = {one.responses.model for one in (self.before, self.after) if one}
        for judgements in self.steered:
            model = judgements.responses.model
            if not isinstance(model, Steered) or model.model not in unsteered:
                raise ValueError(f"{model.label()} is no steered version of the models before or after")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        resampling = Resampling(self.draws)
        prompts = read_table(context.path(self.evaluation_before) / "prompts.parquet").to_pylist()
        families = [row["family"] for row in prompts]
        rows = [
            self._foretold(context, direction, scaling, families, resampling)
            for direction in self.directions
            for scaling in SCALINGS
        ]
        answers = self._answers(context)
        tables = {"prompts": rows, "answers": answers}
        if ranked := _against(answers):
            tables["against"] = ranked
        return AnalysisResult(tables, {"metrics": list(self.metrics)})

    def show(self, result: AnalysisResult) -> Section:
        return show_steering(result)

    def _foretold(
        self, context: BuildContext, direction: Direction, scaling: Any, families: list[str], resampling: Resampling
    ) -> dict[str, Any]:
        """One layer and scaling: what the shift explains of each prompt, and what random directions do."""
        site, pooling = layer_site(direction.layer), direction.pooling
        start, end = (
            read_activations(context.path(one), site, pooling).astype(np.float64)
            for one in (self.evaluation_before, self.evaluation_after)
        )
        found = shift_fit(start, end, read_direction(direction, context.store, scaling))
        alike = [one for one in self.controls if (one.layer, one.pooling) == (direction.layer, pooling)]
        random = [shift_fit(start, end, read_direction(one, context.store, scaling)) for one in alike]
        explained = mean(found.explained, families, resampling=resampling)
        return {
            "layer": direction.layer,
            "pooling": pooling,
            "scaling": scaling,
            **explained.as_row(),
            "cosine": float(np.nanmean(found.cosine)),
            "best_multiple": found.best,
            "whole": found.whole,
            "random_explained": float(np.mean([np.nanmean(one.explained) for one in random])) if random else None,
            "random_whole": float(np.mean([one.whole for one in random])) if random else None,
            "random_draws": len(random),
        }

    def _answers(self, context: BuildContext) -> list[dict[str, Any]]:
        """Mean scores of every model asked, and the difference that steering made to the model it was done to."""
        plain = [one for one in (self.before, self.after) if one]
        if not plain:
            return []
        refuse_unlike((*plain, *self.steered), self.allow_unlike_judges)
        level, gap = Resampling(self.draws, bounds=(0.0, 100.0)), Resampling(self.draws, bounds=(0.0, 100.0))
        read_of = {one.responses.model: read(one, context.store) for one in (*plain, *self.steered)}
        rows = []
        for model, scores in read_of.items():
            steered = model if isinstance(model, Steered) else None
            for metric in self.metrics:
                found = mean_of_groups(scores[metric], scores["question"], scores["family"], resampling=level)
                row = {
                    "model": model.label(),
                    "steered": steered.model.label() if steered else None,
                    "how": steered.how if steered else None,
                    "layer": steered.direction.layer if steered else None,
                    "scaling": steered.scaling if steered else None,
                    "strength": steered.strength if steered else None,
                    "random": steered.direction.random is not None if steered else None,
                    "metric": metric,
                    **found.as_row(),
                    **dict.fromkeys(("moved", "moved_low", "moved_high", "moved_p")),
                }
                if steered:
                    other = read_of[steered.model]
                    sides = (scores[metric], other[metric], scores["question"], other["question"])
                    moved = difference(*sides, family=scores["family"], resampling=gap)
                    row |= {"moved": moved.estimate, "moved_low": moved.low, "moved_high": moved.high}
                    row["moved_p"] = moved.p
                rows.append(row)
        return rows


def _against(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each shift's move of a mean score beside those of random directions that were added in the same way.

    as_far: how many of these moved it as far, up or down. p: that the shift is one of them (it among them, by rank).
    """
    same = ("steered", "how", "layer", "scaling", "strength", "metric")
    rows = []
    for shift in answers:
        alike = [one["moved"] for one in answers if one["random"] and all(one[name] == shift[name] for name in same)]
        if shift["random"] is not False or not alike:
            continue
        p = float(exceedance(np.array(shift["moved"]), np.array(alike)))
        row = {name: shift[name] for name in same} | {"moved": shift["moved"], "random_mean": float(np.mean(alike))}
        row |= {"random_least": min(alike), "random_most": max(alike), "random_draws": len(alike)}
        rows.append(row | {"as_far": round(p * (1 + len(alike))) - 1, "p": p})
    return rows
