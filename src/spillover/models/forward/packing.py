"""Matrices laid out for the processor once, not at every product: oneDNN's packed weights. Knows torch, no model.

A packed float32 matrix times few rows takes down to half the time of a plain one, and gives a row the same bits
however many rows stand beside it. For reading and writing only: what is packed cannot be trained.
Bfloat16 is packed where the processor multiplies it, and taken as it is where not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional


class Packed:
    """A weight (out, in), and a bias (out,) or None, packed: rows (..., in) -> (..., out)."""

    def __init__(self, weight: Any, bias: Any = None) -> None:
        self.weight = weight.detach().contiguous()
        self.bias = None if bias is None else bias.detach()
        self.packed = weight.dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight)

    def __call__(self, rows: Any) -> Any:
        if rows.shape[:-1].numel() == 1:  # some processors take another way for a lone row, to other bits
            return self(rows.expand(2, *rows.shape[1:]))[:1]
        if not self.packed:
            return functional.linear(rows, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")


def packable(weight: Any) -> bool:
    """Whether `Packed` takes such a weight in this build of torch: float32 or bfloat16 on the CPU."""
    known = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return bool(known and there)
