"""What the embedded judge makes of its two readers' numbers: stack, scale, spread. Knows arrays, no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

REGIMES = ("known", "new")  # is the question one that the judge was fitted on?


def inputs(words: np.ndarray, read: np.ndarray) -> np.ndarray:
    """(answers, inputs): the n-grams' three scores, and the encoder's three, half-way between two kinds of judges.

    `read` holds the encoder's three for GPT-4o and what another judge would add: half-way tells new questions best.
    """
    return np.hstack([(words - 70) / 25, read[:, :3] + read[:, 3:] / 2]).astype(np.float64)


@dataclass(frozen=True)
class Stack:
    """Weights on the inputs, then rising maps onto the target's scale and to a spread; arrays end in a metric axis."""

    weights: np.ndarray  # (inputs, metrics)
    intercept: np.ndarray
    scale_at: np.ndarray  # (knots, metrics)
    scale_to: np.ndarray
    spread_at: np.ndarray  # (knots,)
    spread: np.ndarray  # (knots, metrics)

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray], regime: str) -> Stack:
        return cls(*(tensors[f"{regime}.{name}"].astype(np.float64) for name in cls.__dataclass_fields__))

    def tensors(self, regime: str) -> dict[str, np.ndarray]:
        return {f"{regime}.{name}": getattr(self, name).astype(np.float32) for name in self.__dataclass_fields__}

    def raw(self, x: np.ndarray) -> np.ndarray:
        # one row at a time gives the same sums
        found: np.ndarray = np.einsum("ai,im->am", x, self.weights) + self.intercept
        return found

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Scores in [0, 100], (answers, metrics)."""
        raw = self.raw(x)
        columns = [np.interp(raw[:, i], self.scale_at[:, i], self.scale_to[:, i]) for i in range(raw.shape[1])]
        found: np.ndarray = np.clip(np.array(columns).T, 0, 100)
        return found

    def spreads(self, scores: np.ndarray) -> np.ndarray:
        """The standard deviation of each score's error, points."""
        columns = [np.interp(scores[:, i], self.spread_at, self.spread[:, i]) for i in range(scores.shape[1])]
        return np.array(columns).T
