"""Matrices laid out for the processor once, not at every product: oneDNN's packed weights. Knows torch, no model.

A packed float32 matrix times few rows takes down to half the time of a plain one, and gives a row the same bits
however many rows stand beside it. For reading and writing only: what is packed cannot be trained.
"""

from __future__ import annotations

from typing import Any

import torch


class Packed:
    """A weight (out, in), and a bias (out,) or None, packed: rows (..., in) -> (..., out)."""

    def __init__(self, weight: Any, bias: Any = None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        self.bias = None if bias is None else bias.detach()

    def __call__(self, rows: Any) -> Any:
        return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")


def packable(weight: Any) -> bool:
    """Whether this build of torch packs such a weight: float32 on the CPU."""
    return bool(
        weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    ) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
