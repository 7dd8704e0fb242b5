"""A safetensors file that is written as its rows come, in any order: nothing but the rows at hand is in memory.

The bytes are those that safetensors' own writer gives for the same arrays (a test holds them).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ALIGNMENT = 8  # bytes


class ArrayFile:
    """Float32 arrays (rows, width) of one shape, by name; `close` refuses a file in which a row was never written."""

    def __init__(self, path: Path, names: Sequence[str], rows: int, width: int) -> None:
        """OSError where the disk has no room for all of it: found out here, not half-way."""
        if len(set(names)) != len(names) or not names:
            raise ValueError(f"arrays need names that do not repeat, got {', '.join(names) or 'none'}")
        in_file = sorted(names)
        size = 4 * rows * width
        header: dict[str, object] = {
            name: {"dtype": "F32", "shape": [rows, width], "data_offsets": [index * size, (index + 1) * size]}
            for index, name in enumerate(in_file)
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.flush()
            if size:
                os.posix_fallocate(file.fileno(), 0, 8 + len(text) + size * len(names))
        self._path = path
        self._order = np.array([in_file.index(name) for name in names])
        self._written = np.zeros(rows, dtype=bool)
        shape = (len(names), rows, width)
        self._arrays = np.memmap(path, "<f4", "r+", 8 + len(text), shape) if size else np.zeros(shape, np.float32)

    def write_rows(self, rows: Sequence[int], block: np.ndarray) -> None:
        """Rows of every array at once: `block` is (arrays in the order of the names, rows, width)."""
        if self._written[list(rows)].any():
            raise ValueError(f"{self._path}: a row is written twice, among {list(rows)}")
        self._arrays[self._order[:, None], np.array(rows)[None, :]] = block
        self._written[list(rows)] = True

    def close(self) -> None:
        """Everything to the disk."""
        missing = np.flatnonzero(~self._written)
        if len(missing):
            raise ValueError(
                f"{self._path}: {len(missing)} of {len(self._written)} rows were not written, first {missing[0]}"
            )
        if isinstance(self._arrays, np.memmap):
            self._arrays.flush()
