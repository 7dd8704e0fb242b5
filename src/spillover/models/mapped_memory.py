"""Weights as the system maps them from their files: pages of the file, which cost nothing until they are read.

A page that was read and not written can be given back: it comes from the file again when it is next read.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from spillover.models.precision import DType

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PAGE = mmap.PAGESIZE  # bytes
DONTNEED = 4  # MADV_DONTNEED
Range = tuple[int, int]  # first address and the one after the last


def release(tensors: Iterable[Tensor]) -> None:
    """Give back the memory of tensors that lie in mapped files and were not changed; others stay as they are.

    They can be read again, and are as they were.
    """
    if sys.platform != "linux":
        return
    mapped = _mapped_files()
    starts = [start for start, _ in mapped]
    for tensor in tensors:
        if tensor.device.type != "cpu" or not tensor.is_contiguous():
            continue
        first = tensor.data_ptr()
        last = first + tensor.numel() * tensor.element_size()
        place = bisect_right(starts, first) - 1
        first, last = -(-first // PAGE) * PAGE, last // PAGE * PAGE  # neighbours' pages stay
        if place >= 0 and last <= mapped[place][1] and first < last and _is_as_in_file(first, last):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), DONTNEED)


def cast_weights(network: PreTrainedModel, dtype: DType) -> None:
    """Put every weight into `dtype`, one by one, so that no more than one of them is there twice.

    Buffers (rotary frequencies) stay exact, as transformers has it.
    """
    import torch

    wanted = getattr(torch, dtype)
    for weight in network.parameters():
        if weight.dtype != wanted:
            before, weight.data = weight.data, weight.data.to(wanted)
            release([before])


def _is_as_in_file(first: int, last: int) -> bool:
    """Whether no page between two addresses was written: each that is in memory is still the file's own."""
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            pages.seek(first // PAGE * 8)
            flags = np.frombuffer(pages.read((last - first) // PAGE * 8), np.uint64)
    except OSError:  # not told here
        return False
    present, of_file = (flags >> np.uint64(63)) & np.uint64(1), (flags >> np.uint64(61)) & np.uint64(1)
    return len(flags) == (last - first) // PAGE and bool((present <= of_file).all())


def _mapped_files() -> list[Range]:
    """Address ranges in this process that are private maps of files, in order."""
    ranges = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, rights, _, _, inode = line.split(maxsplit=5)[:5]
            if inode != "0" and rights.endswith("p"):
                first, last = addresses.split("-")
                ranges.append((int(first, 16), int(last, 16)))
    return ranges
