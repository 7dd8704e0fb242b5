"""Matrices laid out for the processor once, not at every product: oneDNN's packed weights.

A packed float32 matrix times few rows takes down to half the time of a plain one (a quarter on some processors), and
gives a row the same bits however many rows stand beside it. What is packed cannot be trained. Bfloat16 is packed where
the processor multiplies it, and taken as it is where not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from spillover.models.mapped_memory import release

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PROBE_TOKENS = 7
PROBE_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # of the largest value


class PackedLinear(torch.nn.Module):
    """A weight (out, in), and a bias (out,) or None, packed: rows (..., in) -> (..., out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.matrix = weight.detach().contiguous()
        self.bias = None if bias is None else bias.detach()
        self.packed = weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if self.packed:
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(self.matrix)

    def forward(self, rows: Tensor) -> Tensor:
        """The product. A lone row is multiplied as two: some processors take another way for it, to other bits."""
        if rows.shape[:-1].numel() == 1:
            return self.forward(rows.expand(2, *rows.shape[1:]))[:1]
        if not self.packed:
            return functional.linear(rows, self.matrix, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.matrix, self.bias, "none", [], "")
        return product

    def unpacked(self) -> torch.nn.Linear:
        """A plain layer of the same weights."""
        weight = self.matrix.to_dense() if self.packed else self.matrix
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], self.bias is not None, device="meta")
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        if self.bias is not None:
            linear.bias = torch.nn.Parameter(self.bias, requires_grad=False)
        return linear


def packable(weight: Tensor) -> bool:
    """Whether `PackedLinear` takes such a weight in this build of torch: float32 or bfloat16 on the CPU."""
    known = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return bool(known and available)


def pack_linear_layers(network: PreTrainedModel) -> None:
    """Put a packed layer in the place of every linear one below the output head, one by one, so that memory holds.

    In place, for reading alone. Where a probe shows other hidden states than before (a network that takes a layer's
    weight itself, say), all are put back; layers on a GPU, of another kind or with a hook stay as they are.
    """
    trunk = network.base_model
    if trunk is network:  # its body goes by no name: the head would be packed too
        return
    names = [name for name, module in trunk.named_modules() if _is_plain_linear(module)]
    if not names:
        return
    with torch.inference_mode():
        before = _probe(network)
        release(network.parameters())
        for name in names:
            linear = trunk.get_submodule(name)
            packed = PackedLinear(linear.weight, linear.bias)
            trunk.set_submodule(name, packed)
            if packed.packed:
                release([linear.weight])  # it is not read again: one copy stays in memory
            del linear
        try:
            error = float((_probe(network) - before).abs().max() / before.abs().max())
        except (AttributeError, RuntimeError):
            error = float("inf")
        if not error <= probe_tolerance(before):
            for name in names:
                trunk.set_submodule(name, trunk.get_submodule(name).unpacked())


def probe_tolerance(values: Tensor) -> float:
    """How far two ways to the same values may be from one another on a probe, as a share of the largest."""
    return PROBE_TOLERANCE.get(values.dtype, max(PROBE_TOLERANCE.values()))


def probe_tokens(network: torch.nn.Module) -> Tensor:
    """Tokens from all over the vocabulary, (1, 7): the control tokens at its start may never have been trained, and
    rounding is then a hundred times as large.
    """
    embedding = network.get_input_embeddings()
    steps = torch.arange(1, PROBE_TOKENS + 1, device=embedding.weight.device)
    return (steps * embedding.num_embeddings // (PROBE_TOKENS + 1))[None]


def _probe(network: PreTrainedModel) -> Tensor:
    hidden: Tensor = network.base_model(input_ids=probe_tokens(network), use_cache=False).last_hidden_state
    return hidden


def _is_plain_linear(module: torch.nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module) is torch.nn.Linear and not hooked and packable(module.weight)
