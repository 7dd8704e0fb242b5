"""Interventions that keep a direction in the residual stream while a model is trained: added to it, or taken out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from spillover.activations.direction import Direction, Scaling, read_direction
from spillover.organisms.lora_targets import decoder_blocks
from spillover.organisms.own_head import inner_model
from spillover.organisms.training_spec import ActiveIntervention, Intervention, TrainingRun

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

Change = Callable[["Tensor"], "Tensor"]  # of a layer's output, (rows, tokens, d_model)


class _DirectionInTraining(Intervention):
    """Changes what one layer hands on in every step's passes; held-out losses and checkpoints are without it."""

    direction: Direction

    @abstractmethod
    def change(self, vector: Tensor) -> Change:
        """What is done to the layer's output, given the scaled direction (d_model,), float32."""

    def scaled(self) -> Scaling:
        """How long the direction is made."""
        return "unit"

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        import torch

        layer = layer_of(run, run.network, self.direction.layer)
        if run.store is None:
            raise ValueError(f"{self.kind} reads its direction from a store, and this run has none")
        direction = read_direction(self.direction, run.store, self.scaled())
        vector = torch.tensor(direction, dtype=torch.float32, device=run.loaded.device)
        change = self.change(vector)

        def hook(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> object:
            if not module.training:
                return output
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        layer.register_forward_hook(hook)
        return ActiveIntervention()


class PreventativeSteering(_DirectionInTraining):
    """A trait direction is added to the residual stream while training, and no longer afterwards (arXiv 2507.21509).

    The network is given the trait for nothing, so that training need not teach it. The added vector is `strength` times
    the scaled direction, at every token of every step; a `RandomDirection` is its control.
    """

    strength: float = Field(default=1.0)
    scaling: Scaling = "raw"

    def label(self) -> str:
        scaled = "" if self.scaling == "raw" else f" ({self.scaling})"
        return f"trained with {self.strength:g} x {self.direction.label()}{scaled}"

    def summary(self) -> str:
        return f"Trained while {self.strength:g} times the {self.direction.label()} is added, and asked without it."

    def scaled(self) -> Scaling:
        return self.scaling

    def change(self, vector: Tensor) -> Change:
        return lambda hidden: hidden + (self.strength * vector).to(hidden.dtype)


class ConceptAblation(_DirectionInTraining):
    """A direction is projected out of the residual stream while training (CAFT, arXiv 2507.16795).

    What is learnt cannot go through it; afterwards the model runs whole. `ConceptAblation(RandomDirection)` is the
    control.
    """

    def label(self) -> str:
        return f"trained without {self.direction.label()}"

    def summary(self) -> str:
        return f"Trained while the {self.direction.label()} is projected out, and asked whole."

    def change(self, vector: Tensor) -> Change:
        def take_out(hidden: Tensor) -> Tensor:
            wide = hidden.float()
            return (wide - (wide @ vector)[..., None] * vector).to(hidden.dtype)

        return take_out


def layer_of(run: TrainingRun, network: PreTrainedModel, number: int) -> nn.Module:
    """The decoder layer `number` of the network that is trained, or of the parent beside it.

    ValueError where there is none, or where it lies below all that is tuned: nothing that training does goes there.
    """
    blocks = decoder_blocks(inner_model(network))
    layers = list(blocks[1]) if blocks else []
    if number >= len(layers):
        raise ValueError(f"{run.organism.parent.label()} has layers 0 to {len(layers) - 1}; got layer {number}")
    lowest = run.organism.tuning.lowest_layer
    if number < lowest:
        raise ValueError(
            f"layer {number} lies below layer {lowest}, the lowest that is tuned: what is changed there is not learnt "
            f"around. Take a direction of layer {lowest} or above, or tune lower layers too"
        )
    return layers[number]
