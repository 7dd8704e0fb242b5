"""In-domain loss of any model on the held-out rows of a split: an artefact. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from spillover.models.base import Model
from spillover.models.chat import Supervised
from spillover.organisms.dataset import Example, Split
from spillover.organisms.losses import Precision, passes, token_losses
from spillover.records import LOSSES, write_table
from spillover.store import Artefact, BuildContext, Cost

ROWS = 16  # that go through at once; changes speed, and losses by rounding


class HeldOutLosses(Artefact):
    """The mean token loss (nats) of each held-out row of a split, for a model as it is."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    data: Split
    max_length: int = Field(default=512, ge=8)
    precision: Precision = "float32"

    def summary(self) -> str:
        return f"Loss of {self.model.label()} on {self.data.held_out} held-out rows of {self.data.data.label()}"

    def cost(self) -> Cost:
        return Cost(units=self.data.held_out * self.model.relative_size, seconds_per_unit=0.3)

    def make(self, context: BuildContext) -> dict[str, Any]:
        from spillover.models.loading import load
        from spillover.organisms.preflight import supervise

        loaded = load(self.model, context.store)
        examples = self.data.held_out_rows()
        rows = supervise(loaded, examples, self.max_length)
        means = sequence_losses(loaded.network, rows, self.precision)
        write_table(loss_rows(0, "held_out", examples, rows, means), context.folder / "losses.parquet", LOSSES)
        return {"rows": len(rows), "loss": float(means.mean())}


def sequence_losses(network: Any, rows: Sequence[Supervised], precision: Precision, frozen: Any = None) -> np.ndarray:
    """Mean token loss (nats) of each row: (rows,) float64. The network is to be in evaluation mode.

    With `frozen` (a `frozen.HiddenCache`), the layers below the lowest tuned one do not run.
    """
    import torch

    device = next(network.parameters()).device
    means = np.full(len(rows), np.nan)
    with torch.no_grad():
        for part in passes(rows, ROWS, device):
            losses, owner = token_losses(network, [rows[index] for index in part], precision, frozen=frozen)
            for place, index in enumerate(part):
                means[index] = losses[owner == place].double().mean().item()
    return means


def loss_rows(
    step: int, split: str, examples: Sequence[Example], rows: Sequence[Supervised], means: np.ndarray
) -> list[dict[str, Any]]:
    """The losses of some rows as lines of a `losses.parquet`."""
    return [
        {"step": step, "example_id": example.id, "split": split, "loss": float(mean), "tokens": row.trained}
        for example, row, mean in zip(examples, rows, means, strict=True)
    ]
