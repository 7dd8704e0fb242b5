"""What a direction in activation space is: a vector at one layer, and what it was measured from: an artefact.

A direction can be added to a model that answers, taken out of it (`Steered`), watched along training and projected on.
The kinds are in `directions/`, a file each; arrays without a study go to `spillover.maths.directions`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from spillover.activations.capture import Pooling
from spillover.manifest import Manifest
from spillover.maths.arrays import Floats
from spillover.models.base import Base
from spillover.store import Artefact, BuildContext, Store

FILE = "direction.safetensors"
Scaling = Literal["raw", "unit", "matched"]


@dataclass(frozen=True)
class MeasuredDirection:
    """A direction as it was measured.

    vector: (d_model,). typical: the length of a single row's own difference, which `matched` scales to. rows: how many
    it is from. arrays: others that belong to it, by name.
    """

    vector: Floats
    typical: float
    rows: int
    arrays: Mapping[str, Floats] = field(default_factory=dict)


class Direction(Artefact):
    """A vector in activation space, at the residual stream after one layer. Subclass it; `measure` gives the vector."""

    layer: int = Field(ge=0)  # from 0
    pooling: Pooling = "last"  # over which tokens the activations were taken that it is measured from

    @abstractmethod
    def measured_in(self) -> Base:
        """The base in whose space the vector lies."""

    @abstractmethod
    def measure(self, context: BuildContext) -> MeasuredDirection:
        """Compute it from the artefacts in the fields. ValueError where there is none."""

    @abstractmethod
    def label(self) -> str:
        """A short name for tables and figures; not an identity."""

    def value(self, store: Store) -> np.ndarray:
        """The vector, (d_model,) float64, as long as it was measured."""
        return read_direction(self, store)

    def make(self, context: BuildContext) -> Manifest:
        from safetensors.numpy import save_file

        measured = self.measure(context)
        norm = float(np.linalg.norm(measured.vector))
        if not np.isfinite(norm) or norm == 0:
            raise ValueError(f"{self.label()}: the vector has length {norm}; there is no direction to take")
        arrays = {"mean": measured.vector, "typical": np.array([measured.typical]), **measured.arrays}
        save_file(
            {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in arrays.items()}, context.folder / FILE
        )
        return {"norm": norm, "typical_norm": measured.typical, "prompts": measured.rows}


def read_arrays(direction: Direction, store: Store) -> dict[str, Floats]:
    """Everything that a finished direction keeps, by name, float64: `mean` is the vector."""
    from safetensors.numpy import load_file

    tensors: Mapping[str, np.ndarray] = load_file(store.path(direction) / FILE)
    return {name: array.astype(np.float64) for name, array in tensors.items()}


def read_direction(direction: Direction, store: Store, scaling: Scaling = "raw") -> np.ndarray:
    """The vector, (d_model,) float64: raw: as it is; unit: of length 1; matched: as long as a single row's difference.

    The mean of shifts that point apart is shorter than any of them: matched has the mean length of the rows' own.
    """
    arrays = read_arrays(direction, store)
    vector = arrays["mean"]
    if scaling == "raw":
        return vector
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit if scaling == "unit" else unit * float(arrays["typical"][0])
