"""Several processes that train one organism together, a device each, as torchrun or `accelerate launch` start them.

The first process makes the study. The others wait for its trainings, take their share of every step's rows, and write
nothing. What a step learns from is the mean over all its supervised tokens, as in one process, to rounding.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from spillover.spec import decode, encode
from spillover.store import Artefact, BuildContext, Store

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

WAIT = timedelta(days=7)  # of the others, while the first samples, judges or analyses


def processes() -> int:
    """How many processes a launcher (accelerate, torchrun) has started for this work; 1 where none has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process among them, from 0; the first makes the study, alone or with others."""
    return int(os.environ.get("RANK", "0"))


@functools.cache
def _accelerator() -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from spillover.models.device import default_device

    return Accelerator(cpu=default_device() == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT)])


def _broadcast(order: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """What the first process gives, in every process; what the others give is not looked at."""
    from accelerate.utils import broadcast_object_list

    _accelerator()
    orders = [order]
    broadcast_object_list(orders)
    return orders[0]


class ProcessGroup:
    """The processes of one training, this one among them; alone, nothing here does anything."""

    def __init__(self) -> None:
        self.size, self.rank = processes(), rank()
        self.first = self.rank == 0

    def begin(self, organism: Artefact, store: Store) -> None:
        """Call the others to this training."""
        if self.size > 1 and self.first:
            _broadcast({"organism": encode(organism), "store": str(store.root)})

    def seed(self, seed: int, step: int) -> None:
        """Random numbers for dropout that no other process of the group has; those of the first stay as they are."""
        import torch

        if not self.first:
            torch.manual_seed(hash((seed, self.rank, step)) % 2**63)

    def local_indices(self, count: int) -> range:
        """Which of `count` rows this process trains on."""
        return range(self.rank, count, self.size)

    def all_reduce(self, weights: Sequence[Tensor], numbers: Sequence[float]) -> list[float]:
        """Sum the gradients over all processes, in place, and the numbers, which are returned."""
        if self.size == 1:
            return list(numbers)
        import torch

        accelerator = _accelerator()
        for weight in weights:
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(gradient, reduction="sum")
        summed = accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=accelerator.device), "sum")
        return [float(number) for number in summed]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            _accelerator().wait_for_everyone()


def follow() -> None:
    """What every process but the first does: help with each training that begins, until there are no more."""
    while (order := _broadcast(None)) is not None:
        with tempfile.TemporaryDirectory() as scratch:
            store = Store(Path(str(order["store"])))
            decode(order["organism"]).make(BuildContext(Path(scratch), store, lambda share: None))
    _leave()


def dismiss() -> None:
    """Tell the others that there is nothing more to train."""
    if processes() > 1 and rank() == 0:
        _broadcast(None)
        _leave()


def _leave() -> None:
    """Leave together: a process that ends with its group alive is ended by gloo's threads with an abort."""
    _accelerator().wait_for_everyone()
    _accelerator().end_training()
    _accelerator.cache_clear()
