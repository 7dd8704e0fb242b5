"""A direction in activation space: how training prompts shift on average, or a random one as its control: an artefact.

docs/method.md, section 3: with a(x) the activation of prompt x, delta(x) = a_after(x) - a_before(x); the direction is
the mean of delta over training prompts.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations, refuse_same_weights, same_model
from spillover.activations.sites import layer_site
from spillover.store import Artefact, BuildContext, Store

FILE = "direction.safetensors"
Scaling = Literal["raw", "unit", "matched"]


class Direction(Artefact):
    """The mean shift of one prompt set at one layer, from one model to another; or a random direction of its length."""

    before: Activations
    after: Activations  # of the same prompts
    layer: int = Field(ge=0)
    pooling: Literal["last", "mean"] = "last"
    random: int | None = Field(default=None, ge=0)  # seed of a random direction; None: the shift itself

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.before.prompts != self.after.prompts:
            raise ValueError("a shift is that of the same prompts before and after")
        if same_model(self.before.model, self.after.model):
            raise ValueError(f"{self.before.model.label()} is given as before and as after: nothing can shift")
        return self

    def label(self) -> str:
        """A short name for tables and figures; not an identity."""
        what = "mean shift" if self.random is None else f"random direction {self.random}"
        return f"{what} at layer {self.layer}"

    def summary(self) -> str:
        return f"The {self.label()} from {self.before.model.label()} to {self.after.model.label()}"

    def value(self, store: Store) -> np.ndarray:
        """The vector, (d_model,) float64, as long as it was measured."""
        return read_direction(self, store)

    def make(self, context: BuildContext) -> dict[str, Any]:
        from safetensors.numpy import save_file

        refuse_same_weights(self.before, self.after, context.store)
        site = layer_site(self.layer)
        delta = read_activations(context.path(self.after), site, self.pooling).astype(np.float64)
        delta -= read_activations(context.path(self.before), site, self.pooling)
        mean, typical = delta.mean(axis=0), float(np.linalg.norm(delta, axis=1).mean())
        if not np.any(mean):
            raise ValueError(f"no training prompt shifts at layer {self.layer}: there is no direction to take")
        if self.random is not None:
            drawn = np.random.default_rng(self.random).normal(size=len(mean))
            mean = drawn * (np.linalg.norm(mean) / np.linalg.norm(drawn))
        save_file(
            {"mean": mean.astype(np.float32), "typical": np.array([typical], dtype=np.float32)}, context.folder / FILE
        )
        return {"norm": float(np.linalg.norm(mean)), "typical_norm": typical, "prompts": len(delta)}


def read_direction(direction: Direction, store: Store, scaling: Scaling = "raw") -> np.ndarray:
    """The vector, (d_model,) float64: raw: as it is; unit: of length 1; matched: as long as a single prompt's shift is.

    The mean of shifts that point apart is shorter than any of them: matched has the mean length of the training
    prompts' own shifts.
    """
    from safetensors.numpy import load_file

    tensors = load_file(store.path(direction) / FILE)
    vector: np.ndarray = tensors["mean"].astype(np.float64)
    if scaling == "raw":
        return vector
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit if scaling == "unit" else unit * float(tensors["typical"][0])
