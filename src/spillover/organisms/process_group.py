"""Several processes that train one organism together, a device each, as torchrun or `accelerate launch` start them.

The first process makes the study. The others wait for its trainings, take their share of every step's rows, and write
nothing. What a step learns from is the mean over all its supervised tokens, as in one process, to rounding.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillover.spec import decode, encode
from spillover.store import BuildContext, Store

if TYPE_CHECKING:
    from spillover.organisms.organism import Organism

WAIT = timedelta(days=7)  # of the others, while the first samples, judges or analyses


def processes() -> int:
    """How many processes a launcher (accelerate, torchrun) has started for this work; 1 where none has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first() -> bool:
    """Whether this is the process that makes the study, alone or with others."""
    return int(os.environ.get("RANK", "0")) == 0


@functools.cache
def _accelerator() -> Any:
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from spillover.models.loading import default_device

    return Accelerator(cpu=default_device() == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT)])


def _broadcast(order: Any) -> Any:
    from accelerate.utils import broadcast_object_list

    _accelerator()
    box = [order]
    broadcast_object_list(box)
    return box[0]


class ProcessGroup:
    """The processes of one training, this one among them; alone, nothing here does anything."""

    def __init__(self) -> None:
        self.size, self.rank = processes(), int(os.environ.get("RANK", "0"))
        self.first = self.rank == 0

    def begin(self, organism: Organism, store: Store) -> None:
        """Call the others to this training."""
        if self.size > 1 and self.first:
            _broadcast({"organism": encode(organism), "store": str(store.root)})

    def seed(self, seed: int, step: int) -> None:
        """Random numbers for dropout that no other process of the team has; those of the first stay as they are."""
        import torch

        if not self.first:
            torch.manual_seed(hash((seed, self.rank, step)) % 2**63)

    def mine(self, count: int) -> range:
        """Which of `count` rows this process trains on."""
        return range(self.rank, count, self.size)

    def together(self, weights: Sequence[Any], numbers: Sequence[float]) -> list[float]:
        """Sum the gradients of all processes into each one's, and the numbers."""
        if self.size == 1:
            return list(numbers)
        import torch

        accelerator = _accelerator()
        for weight in weights:
            mine = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(mine, reduction="sum")
        summed = accelerator.reduce(torch.tensor(numbers, dtype=torch.float64, device=accelerator.device), "sum")
        return [float(number) for number in summed]

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            _accelerator().wait_for_everyone()


def follow() -> None:
    """What a process that is not the first does: helps with every training, until the first has finished."""
    from spillover.organisms.training import train

    while (order := _broadcast(None)) is not None:
        with tempfile.TemporaryDirectory() as scratch:
            train(
                decode(order["organism"]), BuildContext(Path(scratch), Store(Path(order["store"])), lambda share: None)
            )
    _part()


def dismiss() -> None:
    """Tell the others that there is nothing more to train."""
    if processes() > 1 and first():
        _broadcast(None)
        _part()


def _part() -> None:
    """Leave together: a process that ends with its group alive is ended by gloo's threads with an abort."""
    _accelerator().wait_for_everyone()
    _accelerator().end_training()
    _accelerator.cache_clear()
