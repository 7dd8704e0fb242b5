"""An axis along which one set of activations varies most."""

from __future__ import annotations

from pydantic import Field

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, MeasuredDirection
from spillover.activations.sites import layer_site
from spillover.maths.directions import principal_axis
from spillover.models.base import Base
from spillover.store import BuildContext


class PrincipalAxis(Direction):
    """A principal axis of one model's activations at one layer, as long as the standard deviation along it."""

    activations: Activations
    number: int = Field(default=0, ge=0)  # 0: the axis of most variance

    def measured_in(self) -> Base:
        return self.activations.model.base()

    def label(self) -> str:
        return f"principal axis {self.number} at layer {self.layer}"

    def summary(self) -> str:
        return f"The {self.label()} of the activations of {self.activations.model.label()}"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        states = read_activations(context.path(self.activations), layer_site(self.layer), self.pooling)
        axis, _ = principal_axis(states, self.number)
        spread = float((states.astype(float) @ axis).std(ddof=1))
        return MeasuredDirection(axis * spread, spread, len(states))
