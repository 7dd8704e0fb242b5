"""A penalty on how far the residual stream drifts from the parent's on benign rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from spillover.activations.interventions.direction_in_training import layer_of
from spillover.models.chat import Supervised
from spillover.organisms.interventions.benign_rows import BenignPenalty
from spillover.organisms.losses import supervised_logits
from spillover.organisms.training_spec import ActiveIntervention, TrainingRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from spillover.organisms.tuning import ParentNetwork


class DriftPenalty(BenignPenalty):
    """A penalty on every step: `weight` times the relative squared drift of one layer's output on a few benign rows.

    The drift is the mean over the rows' tokens of |h_tuned - h_parent|^2 / |h_parent|^2 at the residual stream after
    `layer`: 0 is no drift, 1 a drift as long as the state itself. No loss is taken on the rows. `weight` is a schedule;
    at steps where it is 0 nothing is computed and nothing is logged.
    """

    measured: ClassVar[str] = "drift"

    layer: int = Field(ge=0)

    def label(self) -> str:
        return f"drift {self.weight.peak:g} at layer {self.layer} on {self.benign.data.label()} ({self.weight.label()})"

    def summary(self) -> str:
        return (
            f"Drift from the parent at layer {self.layer} on {self.benign.data.label()} penalised, weight at most "
            f"{self.weight.peak:g}."
        )

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        layer_of(run, run.network, self.layer)  # refused here, not at the first step
        return super().begin(run)

    def tokens(self, row: Supervised) -> int:
        return len(row.ids)

    def distance(self, run: TrainingRun, parent: ParentNetwork, rows: Sequence[Supervised]) -> Tensor:
        """Relative squared drift, summed over all tokens of the rows."""
        import torch

        with torch.no_grad(), parent() as network:
            before = self._states(run, network, rows)
        after = self._states(run, run.network, rows)
        return ((after - before).square().sum(-1) / before.square().sum(-1)).sum()

    def _states(self, run: TrainingRun, network: PreTrainedModel, rows: Sequence[Supervised]) -> Tensor:
        """What the layer hands on at every token of the rows, (tokens, d_model) float32, row by row."""
        import torch

        states: list[Tensor] = []

        def keep(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            states.append(output[0] if isinstance(output, tuple) else output)

        handle = layer_of(run, network, self.layer).register_forward_hook(keep)
        try:
            supervised_logits(network, rows, run.organism.precision, False, run.hidden_cache)
        finally:
            handle.remove()
        return torch.cat([states[0][place, : len(row.ids)].float() for place, row in enumerate(rows)])
