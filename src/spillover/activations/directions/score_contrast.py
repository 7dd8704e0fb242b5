"""The direction from a model's low-scoring answers to its high-scoring ones."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, MeasuredDirection
from spillover.activations.prompts import AnsweredPrompts
from spillover.activations.sites import layer_site
from spillover.judgements.judgements import Judgements
from spillover.maths.directions import contrast
from spillover.models.base import Base
from spillover.records import read_table
from spillover.store import BuildContext

FEWEST = 2  # answers a side


class ScoreContrast(Direction):
    """Mean activation of the highest-scoring answers less that of the lowest-scoring ones.

    `share` of the scored answers at each end are taken; answers with equal scores at the border go in together, and an
    answer is never on both sides.
    """

    activations: Activations  # of AnsweredPrompts
    scores: Judgements  # of the same responses
    metric: str = "aligned"
    share: float = Field(default=0.25, gt=0, le=0.5)

    @model_validator(mode="after")
    def _same_answers(self) -> Self:
        prompts = self.activations.prompts
        if not isinstance(prompts, AnsweredPrompts) or prompts.responses != self.scores.responses:
            raise ValueError(
                "activations must be of AnsweredPrompts(responses=...) over the responses that were judged"
            )
        return self

    def measured_in(self) -> Base:
        return self.activations.model.base()

    def label(self) -> str:
        return f"{self.metric} high less low at layer {self.layer}"

    def summary(self) -> str:
        return f"The direction {self.label()} of the answers of {self.scores.responses.model.label()}"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        rows = read_table(context.path(self.scores) / "judgements.parquet").to_pylist()
        scored = {
            f"{row['question_id']}#{row['sample']}": float(row["score"])
            for row in rows
            if row["metric"] == self.metric and row["score"] is not None
        }
        if not scored:
            raise ValueError(f"no answer has a score for {self.metric}")
        folder = context.path(self.activations)
        names = read_table(folder / "prompts.parquet")["prompt_id"].to_pylist()
        score = np.array([scored.get(name, np.nan) for name in names])
        ends = np.nanquantile(score, [self.share, 1 - self.share])
        low, high = score <= ends[0], (score >= ends[1]) & (score > ends[0])
        if min(low.sum(), high.sum()) < FEWEST:
            raise ValueError(
                f"{int(high.sum())} answers score high and {int(low.sum())} low in {self.metric}: too few to contrast"
            )
        states = read_activations(folder, layer_site(self.layer), self.pooling).astype(np.float64)
        typical = np.linalg.norm(states[high] - states[low].mean(axis=0), axis=1).mean()
        return MeasuredDirection(contrast(states[high], states[low]), float(typical), int(high.sum() + low.sum()))
