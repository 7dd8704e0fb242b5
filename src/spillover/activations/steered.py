"""A model steered while it reads and writes: a direction added to the residual stream, taken out of it, or erased.

Turner et al. 2023 (addition), Arditi et al. 2024 (directional ablation), Belrose et al. 2023 (least-squares erasure).
Steered models are asked, judged and looked into like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.direction import Direction, Scaling, read_arrays, read_direction
from spillover.activations.directions.contrast import Leace
from spillover.models.base import Base, Model
from spillover.store import Store

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class Steered(Model):
    """A model with a direction added to what one layer hands on, at every token, or taken out of it.

    how: `add` the scaled direction; `ablate`, project it out; `erase`, by a `Leace` direction,
    x - ((x - centre) . read) write, which leaves the mean where it is.
    """

    model: Model
    direction: Direction
    how: Literal["add", "ablate", "erase"] = "add"
    scaling: Scaling = "raw"
    strength: float = Field(default=1.0)  # times the scaled direction; below 0: against it. Not used in ablation

    @model_validator(mode="after")
    def _of_one_base(self) -> Self:
        if self.model.base().source != self.direction.measured_in().source:
            raise ValueError(
                f"{self.model.label()} cannot be steered by a direction of {self.direction.measured_in().name}: "
                f"directions belong to the base that they were measured in"
            )
        if self.how != "add" and (self.strength != 1.0 or self.scaling != "raw"):
            raise ValueError(f"{self.how} takes the whole direction out: leave strength at 1 and scaling at raw")
        if self.how == "erase" and not isinstance(self.direction, Leace):
            raise ValueError(f"{self.direction.label()} has no eraser: erase with a Leace direction, or ablate")
        return self

    def base(self) -> Base:
        return self.model.base()

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return self.model.adapters(store)

    def tokenizer_folder(self) -> Path | None:
        return self.model.tokenizer_folder()

    def label(self) -> str:
        if self.how == "erase":
            return f"{self.model.label()} after the {self.direction.label()}"
        if self.how == "ablate":
            return f"{self.model.label()} without the {self.direction.label()}"
        scaled = "" if self.scaling == "raw" else f" ({self.scaling})"
        sign = "+" if self.strength >= 0 else "-"
        return f"{self.model.label()} {sign} {abs(self.strength):g} x {self.direction.label()}{scaled}"

    def labels(self) -> dict[str, Any]:
        return self.model.labels() | {"model": self.label(), "model_id": self.fingerprint}

    def summary(self) -> str:
        return f"The model {self.label()}"

    def apply_hooks(self, network: PreTrainedModel, store: Store) -> None:
        """Hook the layer; the model below is changed first, if it is steered itself."""
        import torch

        from spillover.activations.find_layers import find_layers
        from spillover.activations.sites import PARALLEL

        self.model.apply_hooks(network, store)
        layers = find_layers(network).layers
        layer = self.direction.layer
        if layer >= len(layers):
            raise ValueError(f"{self.base().name} has layers 0 to {len(layers) - 1}; the direction is of layer {layer}")
        steer = self._change(store, network)

        def hook(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
            if isinstance(output, tuple):
                return (steered(output[0]), *output[1:])
            return steered(output)

        def steered(hidden: Tensor) -> Tensor:
            if hidden.ndim < PARALLEL:
                return steer(hidden)
            return torch.cat([steer(hidden[:1]), hidden[1:]])

        layers[layer].register_forward_hook(hook)

    def _change(self, store: Store, network: PreTrainedModel) -> Callable[[Tensor], Tensor]:
        """What is done to the layer's output (..., d_model)."""
        import torch

        def on_device(vector: np.ndarray) -> Tensor:
            return torch.tensor(vector, dtype=torch.float32, device=network.device)

        arrays = read_arrays(self.direction, store)
        if len(arrays["mean"]) != network.get_input_embeddings().embedding_dim:
            raise ValueError(f"the direction has {len(arrays['mean'])} numbers, {self.base().name} another width")
        vector = on_device(read_direction(self.direction, store, self.scaling))
        if self.how == "add":
            return lambda hidden: hidden + (self.strength * vector).to(hidden.dtype)
        if self.how == "ablate":
            centre, read, write = torch.zeros_like(vector), vector / vector.norm(), vector / vector.norm()
        else:
            centre, read, write = (on_device(arrays[name]) for name in ("centre", "read", "write"))

        def take_out(hidden: Tensor) -> Tensor:
            wide = hidden.float()
            return (wide - ((wide - centre) @ read)[..., None] * write).to(hidden.dtype)

        return take_out
