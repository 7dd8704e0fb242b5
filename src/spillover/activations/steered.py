"""A model steered while it reads and writes: a direction added to the residual stream, or taken out of it.

Turner et al. 2023 (addition), Arditi et al. 2024 (directional ablation). Steered models are asked, judged and looked
into like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from spillover.activations.direction import Direction, Scaling, read_direction
from spillover.models.base import Base, Model
from spillover.store import Store

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class Steered(Model):
    """A model with a direction added to what one layer hands on, at every token, or projected out of it."""

    model: Model
    direction: Direction
    how: Literal["add", "ablate"] = "add"
    scaling: Scaling = "raw"
    strength: float = Field(default=1.0)  # times the scaled direction; below 0: against it. Not used in ablation

    @model_validator(mode="after")
    def _of_one_base(self) -> Self:
        if self.model.base().source != self.direction.before.model.base().source:
            raise ValueError(
                f"{self.model.label()} cannot be steered by a direction of {self.direction.before.model.base().name}: "
                f"directions belong to the base that they were measured in"
            )
        if self.how == "ablate" and (self.strength != 1.0 or self.scaling != "raw"):
            raise ValueError("ablation takes the whole direction out: leave strength at 1 and scaling at raw")
        return self

    def base(self) -> Base:
        return self.model.base()

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return self.model.adapters(store)

    def tokenizer_folder(self) -> Path | None:
        return self.model.tokenizer_folder()

    def label(self) -> str:
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

        self.model.apply_hooks(network, store)
        layers = find_layers(network).layers
        layer = self.direction.layer
        if layer >= len(layers):
            raise ValueError(f"{self.base().name} has layers 0 to {len(layers) - 1}; the direction is of layer {layer}")
        direction = read_direction(self.direction, store, self.scaling)
        vector = torch.tensor(direction, dtype=torch.float32, device=network.device)
        if len(vector) != network.get_input_embeddings().embedding_dim:
            raise ValueError(f"the direction has {len(vector)} numbers, {self.base().name} another width")
        unit = vector / vector.norm()

        def steer(hidden: Tensor) -> Tensor:
            if self.how == "ablate":
                wide = hidden.float()
                return (wide - (wide @ unit)[..., None] * unit).to(hidden.dtype)
            return hidden + (self.strength * vector).to(hidden.dtype)

        def hook(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
            return (steer(output[0]), *output[1:]) if isinstance(output, tuple) else steer(output)

        layers[layer].register_forward_hook(hook)
