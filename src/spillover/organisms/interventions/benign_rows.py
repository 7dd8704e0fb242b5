"""Interventions with benign rows: mixed into narrow training, or read to hold the network to its parent."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.models.chat import Supervised
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.losses import passes
from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.training_spec import ActiveIntervention, Intervention, TrainingRun, in_turn
from spillover.organisms.tuning import ParentNetwork

if TYPE_CHECKING:
    from torch import Tensor


class BenignMix(Intervention):
    """Benign rows added to every step, so many that they are `share` of its rows; the narrow rows stay as they are.

    The dose of narrow data and the number of steps are those of the run without it. The loss of a step is the mean over
    the supervised tokens of all its rows. `share` is a schedule whose peak lies below 1; what rounding leaves over at a
    step goes to the next.
    """

    benign: Split
    share: Schedule
    seed: int = 0  # of the order in which benign rows are taken

    @model_validator(mode="after")
    def _room_for_narrow_rows(self) -> Self:
        if self.share.peak >= 1:
            raise ValueError(f"a share of benign rows lies below 1; got a schedule with peak {self.share.peak:g}")
        return self

    def label(self) -> str:
        return f"{self.share.peak:g} {self.benign.data.label()} ({self.share.label()})"

    def summary(self) -> str:
        return f"Rows of {self.benign.data.label()} mixed in, at most {self.share.peak:g} of a step's rows."

    def ends(self, narrow: Sequence[int]) -> np.ndarray:
        """Benign rows taken by the end of each step, shape (steps,), for steps with so many narrow rows."""
        shares = self.share.rates(len(narrow))
        wanted = np.asarray(narrow) * shares / (1 - shares)
        return np.array([math.floor(total + 1e-9) for total in np.cumsum(wanted)])

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        rows = supervise(run.loaded, self.benign.train_rows(), run.organism.max_length)
        return _Mixing(rows, self.ends(run.organism.step_rows()), self.seed)


class _Mixing(ActiveIntervention):
    def __init__(self, rows: Sequence[Supervised], ends: np.ndarray, seed: int) -> None:
        self.benign, self.ends = rows, ends
        self.order = in_turn(len(rows), int(ends[-1]), seed)

    def rows(self, step: int) -> Sequence[Supervised]:
        start = self.ends[step - 2] if step > 1 else 0
        return [self.benign[index] for index in self.order[start : self.ends[step - 1]]]


class BenignPenalty(Intervention):
    """A penalty on every step: `weight` times a measure of how far the network is from its parent on a few benign rows.

    The rows are read, not sampled, and no loss is taken on them. `weight` is a schedule; at steps where it is 0 nothing
    is computed and nothing is logged. Subclass it; `distance` measures.
    """

    measured: ClassVar[str]  # what the distance is called in `interventions.parquet`

    benign: Split
    weight: Schedule
    rows: int = Field(default=4, ge=1)  # benign rows a step
    seed: int = 0  # of the order in which they are taken

    @abstractmethod
    def distance(self, run: TrainingRun, parent: ParentNetwork, rows: Sequence[Supervised]) -> Tensor:
        """The distance from the parent, summed over the tokens of these rows that `tokens` counts."""

    @abstractmethod
    def tokens(self, row: Supervised) -> int:
        """How many tokens of a row the distance is a mean over."""

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        return _Penalised(self, run)


class KLToParent(BenignPenalty):
    """A penalty on every step: `weight` times KL(parent || tuned), mean over the answer tokens of a few benign rows.

    The rows' answers are read, not sampled, and no loss is taken on them; the divergence is in nats per token. `weight`
    is a schedule; at steps where it is 0 nothing is computed and nothing is logged.
    """

    measured: ClassVar[str] = "kl"

    def label(self) -> str:
        return f"KL {self.weight.peak:g} on {self.benign.data.label()} ({self.weight.label()})"

    def summary(self) -> str:
        return (
            f"Divergence from the parent on {self.benign.data.label()} penalised, weight at most {self.weight.peak:g}."
        )

    def tokens(self, row: Supervised) -> int:
        return row.trained

    def distance(self, run: TrainingRun, parent: ParentNetwork, rows: Sequence[Supervised]) -> Tensor:
        """KL(parent || network) in nats, summed over the supervised tokens of the rows."""
        import torch

        with torch.no_grad(), parent() as network:
            target = run.supervised_logits(network, rows).logits.float().log_softmax(-1)
        tuned = run.supervised_logits(run.network, rows).logits.float().log_softmax(-1)
        return torch.nn.functional.kl_div(tuned, target, reduction="sum", log_target=True)


class _Penalised(ActiveIntervention):
    def __init__(self, spec: BenignPenalty, run: TrainingRun) -> None:
        self.spec, self.run = spec, run
        steps = run.organism.steps
        self.benign = supervise(run.loaded, spec.benign.train_rows(), run.organism.max_length)
        self.order = in_turn(len(self.benign), steps * spec.rows, spec.seed)
        self.weights = spec.weight.rates(steps)
        self.parent = run.organism.tuning.parent_network(run.network)

    def backward(self, step: int) -> dict[str, float]:
        weight = float(self.weights[step - 1])
        if weight == 0:
            return {}
        rows = [self.benign[index] for index in self.order[(step - 1) * self.spec.rows : step * self.spec.rows]]
        tokens, total = sum(map(self.spec.tokens, rows)), 0.0
        for part in passes(rows, self.run.organism.batch, next(self.run.network.parameters()).device):
            distance = self.spec.distance(self.run, self.parent, [rows[index] for index in part]) / tokens
            (weight * distance).backward()
            total += distance.item()
        return {self.spec.measured: total, f"{self.spec.measured}_weight": weight}
