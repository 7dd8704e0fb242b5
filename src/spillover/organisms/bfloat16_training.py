"""Adapters trained over a bfloat16 base: their products, and attention that this processor multiplies quickly.

The adapter's matrices, their gradients summed over passes and the optimiser are float32; in the products they are cast,
and nothing is kept for the way back but the layer's input, which its neighbours keep too.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def train_in_bfloat16(network: PreTrainedModel) -> None:
    """Let peft's low-rank layers over bfloat16 weights take `LoRAProduct`; other layers (DoRA) keep their own.

    On the CPU attention is written out as products: torch's fused one has a slow way back in bfloat16 there.
    """
    from peft.tuners.lora.layer import Linear

    if network.device.type == "cpu" and network.config._attn_implementation == "sdpa":
        network.set_attn_implementation("eager")
    for module in network.modules():
        if type(module) is Linear and not module.lora_variant and module.weight.dtype == torch.bfloat16:
            module.forward = types.MethodType(_forward, module)


class LoRAProduct(torch.autograd.Function):
    """rows (n, in), down (rank, in) float32, up (out, rank) float32 -> scale * rows @ down.T @ up.T, as rows are."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        low = functional.linear(rows, down.to(rows.dtype))
        ctx.save_for_backward(rows, low, down, up)
        ctx.scale = scale
        return functional.linear(low, (up * scale).to(rows.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, down, up = ctx.saved_tensors
        (gradient,) = gradients
        of_low = gradient @ (up * ctx.scale).to(rows.dtype)
        of_up = (gradient.T @ low).float() * ctx.scale
        of_rows = of_low @ down.to(rows.dtype) if ctx.needs_input_grad[0] else None
        return of_rows, (of_low.T @ rows).float(), of_up, None


def _forward(module: nn.Module, rows: Tensor, *args: object, **options: object) -> Tensor:
    """What peft's own `forward` gives for the layer, whose adapters are active unless they are switched off."""
    product: Tensor = module.base_layer(rows, *args, **options)
    if module.disable_adapters:
        return product
    for name in module.active_adapters:
        down, up = module.lora_A[name].weight, module.lora_B[name].weight
        flat = module.lora_dropout[name](rows).flatten(0, -2)
        product = product + LoRAProduct.apply(flat, down, up, module.scaling[name]).view_as(product)
    return product
