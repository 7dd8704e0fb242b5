"""A model of your own as judge: how likely each number from 0 to 100 is as its reply. Knows rubrics, no endpoint.

The score is the expectation over the numbers, its spread their standard deviation. What the model puts on anything but
a number is reported; where that is nearly all, there is no score.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pydantic import Field

from spillover.judgements.judge import Answer, Judge, Score, unscored
from spillover.judgements.rubric import Rubrics
from spillover.judgements.rubrics.own import OwnRubrics
from spillover.models.base import Base, Model, base_of
from spillover.models.chat import Prompting
from spillover.models.loading import DType
from spillover.store import Store, Tick

DIGITS = 6  # of the probabilities kept


class LocalModel(Judge):
    """A model that is asked for a number from 0 to 100, and judged by all it could have said."""

    model: Model
    rubrics: Rubrics = Field(default_factory=OwnRubrics)
    least_mass: float = Field(default=0.25, ge=0, le=1)  # on numbers; below it there is no score
    dtype: DType = "float32"
    prompting: Prompting | None = None  # None: by what the model's base is

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What its rubrics score."""
        return self.rubrics.metrics

    @classmethod
    def typed(cls, text: str) -> Self:
        return cls(model=base_of(text))

    @property
    def name(self) -> str:
        return f"local/{self.version}.{self.fingerprint[:8]} {self.model.label()}"

    @property
    def rubric(self) -> str:
        return self.rubrics.label

    def summary(self) -> str:
        return f"{self.model.label()} asked for numbers by {self.rubrics.label}."

    def seconds_per_answer(self) -> float:
        size = (self.model.base().parameters or 135e6) / 135e6
        return 1.0 * size * len(self.metrics)

    def card(self) -> str:
        return (
            f"The judge is a language model, {self.model.label()}, asked for a number from 0 to 100 by the rubrics "
            f"{self.rubrics.label}. A score is the expectation over all numbers it could have given; answers for which "
            f"it gives numbers less than {self.least_mass:.0%} of its probability have none. Its agreement with people "
            f"or with other judges is not known until it is measured: `spillover agree` compares it with another judge "
            f"of the same answers, `spillover audit` with your own labels. Models of less than some billions of "
            f"parameters follow a rubric poorly."
        )

    def score(self, answers: Sequence[Answer], tick: Tick = lambda share: None) -> list[list[Score]]:
        if not isinstance(self.model, Base):
            raise ValueError(f"{self.model.label()} lies in a store: make Judgements of it there to judge with it")
        return self._score(None, answers, tick)

    def score_in(self, store: Store, answers: Sequence[Answer], tick: Tick = lambda share: None) -> list[list[Score]]:
        return self._score(store, answers, tick)

    def _score(self, store: Store | None, answers: Sequence[Answer], tick: Tick) -> list[list[Score]]:
        reasons = [unscored(answer.answer) for answer in answers]
        if all(reasons):  # no model is loaded for nothing
            tick(1.0)
            return [[Score(metric, None, reason) for metric in self.metrics] for reason in reasons]
        from spillover.judgements.rating import Rater

        rater = Rater(self, store)
        asked = [index for index, reason in enumerate(reasons) if reason is None]
        keys = [(index, metric) for metric in self.metrics for index in asked]
        texts = [self.rubrics.prompt(metric, answers[i].question or "", str(answers[i].answer)) for i, metric in keys]
        said = dict(zip(keys, rater.distributions(texts, tick), strict=True))
        return [
            [
                Score(metric, None, reason) if reason else self.scored(metric, said[index, metric])
                for metric in self.metrics
            ]
            for index, reason in enumerate(reasons)
        ]

    def scored(self, metric: str, said: np.ndarray | str) -> Score:
        """The score that probabilities of the numbers 0 to 100 (101,) amount to; or why there are none."""
        if isinstance(said, str):
            return Score(metric, None, said)
        mass = min(float(said.sum()), 1.0)
        raw = json.dumps({"outside": round(1 - mass, DIGITS), "numbers": _kept(said)})
        if mass < self.least_mass or mass == 0:
            return Score(metric, None, f"less than {self.least_mass:g} of the probability on numbers", raw=raw)
        shares, numbers = said / said.sum(), np.arange(len(said))
        mean = float(shares @ numbers)
        spread = float(np.sqrt(shares @ (numbers - mean) ** 2))
        return Score(metric, min(max(round(mean, 3), 0.0), 100.0), spread=round(spread, 3), raw=raw)


def _kept(said: np.ndarray) -> dict[str, Any]:
    kept = {str(number): round(float(share), DIGITS) for number, share in enumerate(said)}
    return {number: share for number, share in kept.items() if share > 0}
