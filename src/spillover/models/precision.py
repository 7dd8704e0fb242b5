"""In which numbers a network computes: what the names mean, and what this processor multiplies natively.

`float32`: weights, products and sums. `bfloat16`: weights and products; what is trained, its optimiser and every sum
are float32. `autocast-bfloat16`: weights are float32 and cast at every product, the old way, to train alone.
"""

from __future__ import annotations

import platform
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from spillover.models.device import default_device

AUTO = "auto"
DType = Literal["float32", "bfloat16"]  # of weights


def resolved(precision: object) -> object:
    """`auto` named: bfloat16 where the device multiplies it natively, else float32; anything else as it is.

    So a spec holds what was computed with, wherever it is read again.
    """
    return native_precision() if precision == AUTO else precision


def _of_reading(precision: object) -> object:
    """With autocast weights are float32, and so they are where a model is asked and looked into."""
    return "float32" if precision == "autocast-bfloat16" else resolved(precision)


# of training; of everything that reads or writes with a network as it is
Precision = Annotated[Literal["float32", "bfloat16", "autocast-bfloat16"], BeforeValidator(resolved)]
ReadingPrecision = Annotated[DType, BeforeValidator(_of_reading)]


def native_precision(device: str | None = None) -> DType:
    """What `auto` means on a device; None: the one that work runs on."""
    return "bfloat16" if multiplies_bfloat16(device or default_device()) else "float32"


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device multiplies bfloat16 by instructions of its own, by what torch says of it.

    CUDA from compute capability 8.0; processors with AMX, AVX512_BF16 or Arm's bf16. Elsewhere torch emulates it, which
    is slower than float32.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(torch.device(device)) >= (8, 0)
    if kind != "cpu":
        return False
    if platform.machine().lower() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def weights_dtype(precision: str) -> DType:
    """What a network's weights are kept in for a precision."""
    return "bfloat16" if precision == "bfloat16" else "float32"


def dtype_named(text: str) -> DType:
    """What a user calls float32, bfloat16 or auto; ValueError for anything else."""
    name = resolved(text)
    if name not in get_args(DType):
        raise ValueError(f"no precision {text!r}: give float32, bfloat16 or auto")
    return weights_dtype(str(name))
