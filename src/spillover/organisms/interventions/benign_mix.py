"""Benign rows mixed into narrow training at a share that may change over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import model_validator

from spillover.models.chat import Supervised
from spillover.organisms.dataset import Split, supervise
from spillover.organisms.schedules.schedule import Schedule
from spillover.organisms.training_spec import ActiveIntervention, Intervention, TrainingRun, in_turn


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
        self.all, self.ends = rows, ends
        self.order = in_turn(len(rows), int(ends[-1]), seed)

    def rows(self, step: int) -> Sequence[Supervised]:
        start = self.ends[step - 2] if step > 1 else 0
        return [self.all[index] for index in self.order[start : self.ends[step - 1]]]
