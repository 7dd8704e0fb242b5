"""How prompts shift on average between two models, the direction of an organism."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import model_validator

from spillover.activations.activations import Activations, read_activations, refuse_same_weights, same_model
from spillover.activations.direction import Direction, MeasuredDirection
from spillover.activations.sites import layer_site
from spillover.maths.shift import deltas
from spillover.models.base import Base
from spillover.store import BuildContext


class MeanShift(Direction):
    """The mean shift of one prompt set at one layer, from one model to another.

    docs/method.md, section 3: with a(x) the activation of prompt x, delta(x) = a_after(x) - a_before(x); the direction
    is the mean of delta over the prompts.
    """

    before: Activations
    after: Activations  # of the same prompts

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.before.prompts != self.after.prompts:
            raise ValueError("a shift is that of the same prompts before and after")
        if same_model(self.before.model, self.after.model):
            raise ValueError(f"{self.before.model.label()} is given as before and as after: nothing can shift")
        return self

    def measured_in(self) -> Base:
        return self.before.model.base()

    def label(self) -> str:
        return f"mean shift at layer {self.layer}"

    def summary(self) -> str:
        return f"The {self.label()} from {self.before.model.label()} to {self.after.model.label()}"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        refuse_same_weights(self.before, self.after, context.store)
        site = layer_site(self.layer)
        delta = deltas(
            *(read_activations(context.path(side), site, self.pooling) for side in (self.before, self.after))
        )
        mean = delta.mean(axis=0)
        if not np.any(mean):
            raise ValueError(f"no training prompt shifts at layer {self.layer}: there is no direction to take")
        return MeasuredDirection(mean, float(np.linalg.norm(delta, axis=1).mean()), len(delta))
