"""A linear layer with an adapter beside its weight: what both make of a row is added, and the weight stays as it is.

In bfloat16 an adapter is not merged: a weight keeps eight bits, and most of what a training adds to it would be rounded
away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import Linear as LinearLayer  # `Linear` is a schedule, too
from torch.nn import functional

from spillover.models.lora_weights import AdapterWeights, LoRAWeights

if TYPE_CHECKING:
    from torch import Tensor, nn


class AdaptedLinear(LinearLayer):
    """A linear layer of shared weight (out, in), and low-rank matrices whose product is added to it."""

    def __init__(self, linear: nn.Linear, adapter: LoRAWeights) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        place = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.register_buffer("down", adapter.down.to(**place), persistent=False)
        self.register_buffer("up", adapter.up.to(**place), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (..., in) -> (..., out)."""
        return functional.linear(rows, self.weight, self.bias) + self.added(rows)

    def added(self, rows: Tensor) -> Tensor:
        """What the adapter alone makes of rows."""
        return functional.linear(functional.linear(rows, self.down), self.up)

    def merged(self) -> Tensor:
        """The weight that layer and adapter are together, (out, in) float32."""
        return self.weight.float() + self.up.float() @ self.down.float()


def lay_beside(network: nn.Module, adapter: AdapterWeights) -> bool:
    """Put the adapter beside the layers that it names, in place; False, and nothing done, where one is not linear."""
    layers = {}
    for name in adapter:
        try:
            layers[name] = network.get_submodule(name)
        except AttributeError:
            return False
        if not isinstance(layers[name], torch.nn.Linear):
            return False
    for name, layer in layers.items():
        network.set_submodule(name, AdaptedLinear(layer, adapter[name]))
    return True
