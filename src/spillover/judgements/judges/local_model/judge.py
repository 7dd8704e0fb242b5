"""A model of your own as judge: how likely each number from 0 to 100 is as its reply.

The score is the expectation over the numbers, its spread their standard deviation. What the model puts on anything but
a number is reported; where that is nearly all, there is no score.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from spillover.judgements.judge import Answer, Judge, Score, Scoring, unscored
from spillover.judgements.rubric import Rubrics
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.models.base import Base, Model
from spillover.models.catalogue import base_of
from spillover.models.chat import Prompting
from spillover.models.precision import ReadingPrecision
from spillover.store import ProgressFn, Store

if TYPE_CHECKING:
    from spillover.judgements.judges.local_model.rater import Rater

DIGITS = 6  # of the probabilities kept


class LocalModel(Judge):
    """A model that is asked for a number from 0 to 100, and judged by all it could have said."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    rubrics: Rubrics = Field(default_factory=BuiltInRubrics)
    least_mass: float = Field(default=0.25, ge=0, le=1)  # on numbers; below it there is no score
    precision: ReadingPrecision = "float32"
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
        return 1.5 * size * len(self.metrics)  # measured: rubrics of 450 tokens, answers of 60, float32, no AVX-512

    def card(self) -> str:
        return (
            f"The judge is a language model, {self.model.label()}, asked for a number from 0 to 100 by the rubrics "
            f"{self.rubrics.label}. A score is the expectation over all numbers it could have given; answers for which "
            f"it gives numbers less than {self.least_mass:.0%} of its probability have none. Its agreement with people "
            f"or with other judges is not known until it is measured: `spillover agree` compares it with another judge "
            f"of the same answers, `spillover audit` with your own labels. Models of less than some billions of "
            f"parameters follow a rubric poorly."
        )

    @contextlib.contextmanager
    def at_work(self, store: Store | None) -> Iterator[Scoring]:
        """The judge with its model loaded once for all parts."""
        yield _AtWork(self, store)

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        return _AtWork(self, None).score(answers, progress)

    def rater(self, store: Store | None) -> Rater:
        """The model, loaded. ValueError where it lies in a store and none is given."""
        from spillover.judgements.judges.local_model.rater import Rater

        if store is None and not isinstance(self.model, Base):
            raise ValueError(f"{self.model.label()} lies in a store: make Judgements of it there to judge with it")
        return Rater(self.model, store, self.precision, self.prompting)

    def scored(self, metric: str, masses: np.ndarray | str) -> Score:
        """The score that probabilities of the numbers 0 to 100 (101,) amount to; or why there are none."""
        if isinstance(masses, str):
            return Score(metric, None, masses)
        mass = min(float(masses.sum()), 1.0)
        raw = json.dumps({"outside": round(1 - mass, DIGITS), "numbers": _rounded(masses)})
        if mass < self.least_mass or mass == 0:
            return Score(metric, None, f"less than {self.least_mass:g} of the probability on numbers", raw=raw)
        shares, numbers = masses / masses.sum(), np.arange(len(masses))
        mean = float(shares @ numbers)
        spread = float(np.sqrt(shares @ (numbers - mean) ** 2))
        return Score(metric, min(max(round(mean, 3), 0.0), 100.0), spread=round(spread, 3), raw=raw)


class _AtWork(Scoring):
    """A local judge at work: loads its model when the first answer comes, and counts what was no number."""

    def __init__(self, judge: LocalModel, store: Store | None) -> None:
        super().__init__(judge)
        self._local, self._store = judge, store
        self._rater: Rater | None = None
        self._outside: dict[str, list[float]] = {metric: [] for metric in judge.metrics}

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        metrics = self._local.metrics
        reasons = [unscored(answer.answer) for answer in answers]
        asked = [index for index, reason in enumerate(reasons) if reason is None]
        keys = [(index, metric) for metric in metrics for index in asked]
        distributions = self._distributions([(answers[index], metric) for index, metric in keys], progress)
        masses = dict(zip(keys, distributions, strict=True))
        progress(1.0)
        return [
            [
                Score(metric, None, reason) if reason else self._local.scored(metric, masses[index, metric])
                for metric in metrics
            ]
            for index, reason in enumerate(reasons)
        ]

    def facts(self) -> dict[str, Any]:
        """What the model put on anything but a number, mean by metric; the texts and the template it was asked by."""
        outside = {metric: round(float(np.mean(shares)), DIGITS) for metric, shares in self._outside.items() if shares}
        about = {"outside": outside, "rubric_texts": self._local.rubrics.texts()}
        if self._rater is not None:
            about |= self._rater.chat.facts()
        return {"local_model": about}

    def _distributions(self, asked: Sequence[tuple[Answer, str]], progress: ProgressFn) -> list[np.ndarray | str]:
        """For each answer and metric the probabilities of the numbers (101,), or why the model could not be asked."""
        if not asked:  # no model is loaded for nothing
            return []
        if self._rater is None:
            self._rater = self._local.rater(self._store)
        prompts = [
            self._local.rubrics.prompt(metric, answer.question or "", str(answer.answer)) for answer, metric in asked
        ]
        distributions = self._rater.distributions(prompts, progress)
        for (_, metric), masses in zip(asked, distributions, strict=True):
            if not isinstance(masses, str):
                self._outside[metric].append(1 - float(masses.sum()))
        return distributions


def _rounded(masses: np.ndarray) -> dict[str, float]:
    rounded = {str(number): round(float(mass), DIGITS) for number, mass in enumerate(masses)}
    return {number: mass for number, mass in rounded.items() if mass > 0}
