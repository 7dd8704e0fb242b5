"""A penalty on how far the residual stream drifts from the parent's on benign rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spillover.activations.interventions.direction_in_training import layer_of
from spillover.models.chat import Supervised
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.losses import passes, supervised_logits
from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.training_spec import ActiveIntervention, Intervention, TrainingRun, in_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel


class DriftPenalty(Intervention):
    """A penalty on every step: `weight` times the relative squared drift of one layer's output on a few benign rows.

    The drift is the mean over the rows' tokens of |h_tuned - h_parent|^2 / |h_parent|^2 at the residual stream after
    `layer`: 0 is no drift, 1 a drift as long as the state itself. No loss is taken on the rows. `weight` is a schedule;
    at steps where it is 0 nothing is computed and nothing is logged.
    """

    benign: Split
    weight: Schedule
    layer: int = Field(ge=0)
    rows: int = Field(default=4, ge=1)  # benign rows a step
    seed: int = 0  # of the order in which they are taken

    def label(self) -> str:
        return f"drift {self.weight.peak:g} at layer {self.layer} on {self.benign.data.label()} ({self.weight.label()})"

    def summary(self) -> str:
        return (
            f"Drift from the parent at layer {self.layer} on {self.benign.data.label()} penalised, weight at most "
            f"{self.weight.peak:g}."
        )

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        return _Penalised(self, run)


class _Penalised(ActiveIntervention):
    def __init__(self, spec: DriftPenalty, run: TrainingRun) -> None:
        self.spec, self.run = spec, run
        steps = run.organism.steps
        self.layer = layer_of(run, spec.layer)
        self.benign = supervise(run.loaded, spec.benign.train_rows(), run.organism.max_length)
        self.order = in_turn(len(self.benign), steps * spec.rows, spec.seed)
        self.weights = spec.weight.rates(steps)
        self.parent = run.organism.tuning.parent_network(run.network)

    def backward(self, step: int) -> dict[str, float]:
        import torch

        weight = float(self.weights[step - 1])
        if weight == 0:
            return {}
        rows = [self.benign[index] for index in self.order[(step - 1) * self.spec.rows : step * self.spec.rows]]
        tokens, total = sum(len(row.ids) for row in rows), 0.0
        for part in passes(rows, self.run.organism.batch, next(self.run.network.parameters()).device):
            some = [rows[index] for index in part]
            with torch.no_grad(), self.parent() as network:
                before = self._states(network, some)
            after = self._states(self.run.network, some)
            drift = ((after - before).square().sum(-1) / before.square().sum(-1)).sum() / tokens
            (weight * drift).backward()
            total += drift.item()
        return {"drift": total, "drift_weight": weight}

    def _states(self, network: PreTrainedModel, rows: Sequence[Supervised]) -> Tensor:
        """What the layer hands on at every token of the rows, (tokens, d_model) float32, row by row."""
        import torch

        states: list[Tensor] = []

        def keep(module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
            states.append(output[0] if isinstance(output, tuple) else output)

        layer = self.layer if network is self.run.network else _same_layer(network, self.spec.layer)
        handle = layer.register_forward_hook(keep)
        try:
            supervised_logits(network, rows, self.run.organism.precision, False, self.run.hidden_cache)
        finally:
            handle.remove()
        return torch.cat([states[0][place, : len(row.ids)].float() for place, row in enumerate(rows)])


def _same_layer(network: PreTrainedModel, number: int) -> nn.Module:
    """The layer of another copy of the network, as full fine-tuning keeps one of the parent."""
    from spillover.organisms.lora_targets import decoder_blocks
    from spillover.organisms.own_head import inner_model

    blocks = decoder_blocks(inner_model(network))
    assert blocks
    return blocks[1][number]
