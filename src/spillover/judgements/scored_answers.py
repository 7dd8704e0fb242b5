"""What analyses need to know of judged answers, however they came to be. Knows no judge, no model, no file format."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spillover.store import Artefact, Store

ScoreColumns = dict[str, np.ndarray]  # one entry an answer in every column


@dataclass(frozen=True)
class Condition:
    """One condition under which answers were got: what tells it from another, and its words for people.

    `key` is None where it is not known; what is not known is never called unlike.
    """

    key: str | None
    log: Callable[[], str]

    def unlike(self, other: Condition) -> bool:
        """Whether the two are known to differ."""
        return None not in (self.key, other.key) and self.key != other.key


@dataclass(frozen=True)
class Loss:
    """In-domain loss on held-out rows, nats; None where it is not known.

    `sequences`: mean over sequences of their mean token loss. `tokens`: mean over all tokens.
    """

    sequences: float | None
    tokens: float | None
    rows: int


@dataclass(frozen=True)
class Training:
    """The narrow training that the judged model went through, up to `step` (of `steps`)."""

    identity: str  # of the run: all its checkpoints share it
    run: str  # a short name of the run
    data: str
    schedule: str
    seed: int | None
    step: int
    steps: int
    log: Sequence[Mapping[str, Any]]  # of the whole run: step, loss, learning_rate, grad_norm, ...
    held_out: Mapping[int, Loss]  # by step; 0 is the model before training


class ScoredAnswers(Artefact):
    """Judged answers of one subject."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """A short name of who answered, for tables and figures; not an identity."""

    @property
    @abstractmethod
    def judge_name(self) -> str:
        """Which judge scored, with its version: never pooled with another."""

    @property
    @abstractmethod
    def rubric_name(self) -> str:
        """Which text the judge scored by, with its version."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What is scored from 0 to 100. Codes (which format an answer has) are columns, but no metrics."""

    @abstractmethod
    def judge_card(self) -> str:
        """The limits of the judge in plain words, for the reader of a report."""

    @abstractmethod
    def conditions(self) -> Mapping[str, Condition]:
        """What two sets have to share to be compared: `judge`, `questions`, `sampling`, `prompting`."""

    @abstractmethod
    def columns(self, store: Store) -> ScoreColumns:
        """The answers with their scores, as `judged` describes them.

        Where `by_question`, an entry is a question: its score is the mean over answers that are not there.
        """

    @property
    def by_question(self) -> bool:
        """Whether only means by question are there, and no answers."""
        return False

    def means(self, store: Store) -> Mapping[str, float]:
        """Where `by_question`: the mean of each metric over all answers, as published; NaN where it is not."""
        raise ValueError(f"the answers of {self.subject} are at hand: their means follow from them")

    @property
    def trained(self) -> bool:
        """Whether the subject is a model after narrow training whose log is at hand."""
        return False

    def training(self, store: Store) -> Training:
        """The training of a subject that is `trained`; all checkpoints of one run share `identity` and `log`."""
        raise ValueError(f"nothing is known of how {self.subject} was trained")
