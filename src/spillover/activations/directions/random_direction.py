"""A random direction as long as another: the control of whatever is done with that one."""

from __future__ import annotations

from pydantic import Field, model_validator

from spillover.activations.direction import Direction, MeasuredDirection, read_arrays
from spillover.maths.directions import random_directions
from spillover.models.base import Base
from spillover.store import BuildContext


class RandomDirection(Direction):
    """A vector drawn uniformly from the sphere on which another direction lies, at its layer."""

    like: Direction
    seed: int = Field(ge=0)

    @model_validator(mode="before")
    @classmethod
    def _same_place(cls, fields: object) -> object:
        """Layer and pooling are those of the direction it is a control of."""
        like = fields.get("like") if isinstance(fields, dict) else None
        if not isinstance(fields, dict) or not isinstance(like, Direction):
            return fields
        own = {"layer": like.layer, "pooling": like.pooling}
        for name, value in own.items():
            if fields.get(name, value) != value:
                raise ValueError(f"{name} is that of the direction it is like, {value}; got {fields[name]}")
        return {**fields, **own}

    def measured_in(self) -> Base:
        return self.like.measured_in()

    def label(self) -> str:
        return f"random direction {self.seed} at layer {self.layer}"

    def summary(self) -> str:
        return f"A random direction (seed {self.seed}) as long as the {self.like.label()}"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        arrays = read_arrays(self.like, context.store)
        rows = int(context.store.manifest(self.like)["facts"]["prompts"])
        vector = random_directions(arrays["mean"], 1, self.seed)[0]
        return MeasuredDirection(vector, float(arrays["typical"][0]), rows)
