"""Directions between two sets of prompts or answers of one model: contrast of means, probe weights, eraser."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.activations import Activations, read_activations
from spillover.activations.direction import Direction, MeasuredDirection
from spillover.activations.sites import layer_site
from spillover.maths.arrays import Floats
from spillover.maths.directions import contrast, leace, probe_weights
from spillover.models.base import Base
from spillover.store import BuildContext


class _BetweenSets(Direction):
    """What tells one set of activations from another, in one model."""

    high: Activations  # of prompts or answers that have the trait
    low: Activations  # of those that have its opposite, or have it not
    name: str = ""  # of the trait, for tables

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.high.model != self.low.model:
            raise ValueError(
                f"a contrast is between two sets in one model; got {self.high.model.label()} and "
                f"{self.low.model.label()}. A shift between models is MeanShift"
            )
        if self.high == self.low:
            raise ValueError("high and low are the same activations: they do not differ")
        return self

    def measured_in(self) -> Base:
        return self.high.model.base()

    def label(self) -> str:
        return f"{self.name or 'high less low'} ({self.what()}) at layer {self.layer}"

    @abstractmethod
    def what(self) -> str:
        """Which vector it is, in a word or two."""

    def summary(self) -> str:
        return f"The direction {self.label()}, in {self.high.model.label()}"

    def sets(self, context: BuildContext) -> tuple[Floats, Floats]:
        """Both sets' activations, (rows, d_model) each."""
        site = layer_site(self.layer)
        high, low = (
            read_activations(context.path(side), site, self.pooling).astype(np.float64)
            for side in (self.high, self.low)
        )
        return high, low


class Contrast(_BetweenSets):
    """Mean activation of one set less that of another: a trait against its opposite (persona vectors).

    arXiv 2507.21509 takes answers under system prompts that ask for the trait and for its opposite, and the mean over
    the answers' tokens (`pooling="completion"`).
    """

    def what(self) -> str:
        return "contrast"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        high, low = self.sets(context)
        typical = np.linalg.norm(high - low.mean(axis=0), axis=1).mean()
        return MeasuredDirection(contrast(high, low), float(typical), len(high) + len(low))


class ProbeWeights(_BetweenSets):
    """Weights of a linear probe that tells the two sets apart: a ridge regression of +1 and -1, at length 1."""

    penalty: float = Field(default=1.0, ge=0)  # times the mean eigenvalue of the rows' Gram matrix

    def what(self) -> str:
        return "probe"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        high, low = self.sets(context)
        weights = probe_weights(high, low, self.penalty)
        apart = float((high.mean(axis=0) - low.mean(axis=0)) @ weights)
        return MeasuredDirection(weights, apart, len(high) + len(low))


class Leace(_BetweenSets):
    """The least-squares eraser of which set a row is from (arXiv 2306.03819), for `Steered(how="erase")`.

    After it no linear probe tells the two sets apart on the rows that it was made from. As a vector to add it is the
    contrast of means.
    """

    def what(self) -> str:
        return "eraser"

    def measure(self, context: BuildContext) -> MeasuredDirection:
        high, low = self.sets(context)
        eraser = leace(high, low)
        typical = np.linalg.norm(high - low.mean(axis=0), axis=1).mean()
        arrays = {"centre": eraser.centre, "read": eraser.read, "write": eraser.write}
        return MeasuredDirection(contrast(high, low), float(typical), len(high) + len(low), arrays)
