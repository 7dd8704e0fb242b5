"""A feature of a published sparse autoencoder, from a file on the user's disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.direction import Direction, MeasuredDirection
from spillover.manifest import file_sha256
from spillover.models.base import Base
from spillover.spec import location_field
from spillover.store import BuildContext


class DecoderRow(Direction):
    """One row (or column) of a decoder matrix in a safetensors file: a sparse autoencoder's or crosscoder's feature.

    Nothing is trained here. The vector is as long as in the file.
    """

    base: Base  # the model whose residual stream the features are of
    path: str = location_field()
    sha256: str = ""  # of the file, filled in: this alone tells one file from another
    tensor: str = "W_dec"
    feature: int = Field(ge=0)
    axis: int = Field(default=0, ge=0, le=1)  # of the matrix that numbers the features

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, fields: object) -> object:
        path = fields.get("path") if isinstance(fields, dict) else None
        if isinstance(fields, dict) and isinstance(path, str | Path) and not fields.get("sha256"):
            place = Path(path).expanduser().absolute()
            if place.suffix != ".safetensors" or not place.is_file():
                raise ValueError(f"{path} is no safetensors file: give the decoder's weights as .safetensors")
            fields = {**fields, "path": str(place), "sha256": file_sha256(place)}
        return fields

    def measured_in(self) -> Base:
        return self.base

    def label(self) -> str:
        return f"feature {self.feature} of {Path(self.path).name} at layer {self.layer}"

    def summary(self) -> str:
        return f"The decoder direction of {self.label()}"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        from safetensors import safe_open

        path = Path(self.path)
        if file_sha256(path) != self.sha256:
            raise ValueError(f"{path} is not the file that this direction was made from")
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if self.tensor not in names:
                raise ValueError(f"{path.name} has no tensor '{self.tensor}'; it has {', '.join(names[:12])}")
            matrix = file.get_slice(self.tensor)
            shape = matrix.get_shape()
            if len(shape) != 2 or self.feature >= shape[self.axis]:
                raise ValueError(
                    f"'{self.tensor}' has shape {shape}: there is no feature {self.feature} on axis {self.axis}"
                )
            row = matrix[self.feature] if self.axis == 0 else matrix[:, self.feature]
        vector = row.double().flatten().numpy()
        return MeasuredDirection(vector, float(np.linalg.norm(vector)), 1)
