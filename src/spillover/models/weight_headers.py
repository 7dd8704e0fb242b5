"""What safetensors files say they hold: names and shapes. No weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spillover.models.foreign_readers import first_line
from spillover.regular_files import expect_regular

TensorShape = tuple[int, ...]
TensorShapes = Mapping[str, TensorShape]  # by a tensor's name


def tensor_shapes(path: Path) -> TensorShapes:
    """Names and shapes of the tensors in a safetensors file; none is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(expect_regular(path), "numpy") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {first_line(error)}") from None
