"""What an intervention is: something done to narrow training to see what it changes. Knows rows; trains nothing.

One file in `interventions/` each. It may change the rows that are trained on, add rows to each step, or add a gradient.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from spillover.models.chat import Supervised
from spillover.models.loading import Loaded
from spillover.organisms.dataset import Example
from spillover.organisms.process_group import ProcessGroup
from spillover.spec import Spec

Views = Mapping[str, list[Example]]  # held-out rows by split: `held_out` as they are trained on, others beside it


@dataclass(frozen=True)
class TrainingRun:
    """A training that begins: its organism, the parent as opened, and the network that is tuned."""

    organism: Any  # an Organism, which knows this module
    loaded: Loaded
    network: Any
    frozen: Any = None  # a Frozen where the lowest layers are not tuned
    team: ProcessGroup = field(default_factory=ProcessGroup)  # the processes that train it


class ActiveIntervention:
    """An intervention at work in one run. What it does at a step depends on the step alone, for runs are resumed."""

    def rows(self, step: int) -> Sequence[Supervised]:
        """Rows to train on at this step (from 1) besides the narrow ones."""
        return ()

    def backward(self, step: int) -> dict[str, float]:
        """Add gradients to the network's after the rows' own; what was measured on the way, by name."""
        return {}


class Intervention(Spec):
    """Something done to narrow training, to see what it changes."""

    changes_rows: ClassVar[bool] = False  # of those that are trained on
    replaces: ClassVar[bool] = False  # some of them by others, so that it has to come before those that change them

    @abstractmethod
    def label(self) -> str:
        """A few words for tables and figures; not an identity."""

    def train(self, examples: list[Example]) -> list[Example]:
        """The rows to train on, as many and in the same order."""
        return examples

    def held(self, views: Views) -> dict[str, list[Example]]:
        """The held-out rows of every split, changed like those that are trained on, and splits of its own."""
        return dict(views)

    def begin(self, run: TrainingRun) -> ActiveIntervention:
        """Ready for the first step."""
        return ActiveIntervention()


def in_turn(count: int, total: int, seed: int) -> np.ndarray:
    """`total` indices below `count`: all of them in an order drawn from `seed`, then all in another, and so on."""
    random = np.random.default_rng(seed)
    rounds = [random.permutation(count) for _ in range(-(-total // count))]
    return np.concatenate(rounds)[:total] if rounds else np.zeros(0, dtype=np.int64)
