"""A cheap judge scores every answer, a dear one a probability sample of them, which sets the cheap one right.

What a mean of such scores is, and how sure: `spillover.maths.two_phase`. A score of an answer that was not drawn is a
prediction: what the dear judge would give, by what it gave to others of this model that the cheap judge scored alike.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.judgements.judge import Answer, Batch, Judge, PhasedScore, Score, Scoring, unscored
from spillover.judgements.judges.two_phase.plan import planned_work, what_was_seen
from spillover.judgements.naming import judge_named, name_and_options, with_options
from spillover.maths.arrays import Bools, Floats
from spillover.maths.probability_sample import Sample, stratified_sample
from spillover.maths.two_phase import pseudo_values
from spillover.store import ProgressFn, Store

SHARE = 0.1  # of the answers, where neither a share nor a cost is named
OWN = ("share", "max-cost", "seed")  # options of the sample, as users type them; others are the dear judge's
NONE_SCORED = "the dear judge scored no answer of this model"


class TwoPhase(Judge):
    """A cheap judge for all answers, set right by a dear judge's scores of a probability sample."""

    two_phase: ClassVar[bool] = True

    cheap: Judge  # scores every answer
    dear: Judge  # scores those that are drawn; its scale is that of the result
    share: float | None = Field(default=None, gt=0, le=1, description=f"of a model's answers; None: {SHARE:g}")
    max_cost: float | None = Field(
        default=None, gt=0, description="of the dear judge for one model's answers; sets a share"
    )
    seed: int = 0  # of the draw

    @model_validator(mode="after")
    def _score_the_same(self) -> Self:
        if self.cheap.two_phase or self.dear.two_phase:
            raise ValueError("a two-phase judge is made of two judges that are none themselves")
        if self.cheap == self.dear:
            raise ValueError(f"the cheap and the dear judge are one, {self.cheap.name}: nothing would be set right")
        if not self.metrics:
            scored = [" and ".join(judge.metrics) for judge in (self.cheap, self.dear)]
            raise ValueError(
                f"the cheap judge scores {scored[0]}, the dear one {scored[1]}: they need a metric in common"
            )
        return self

    @classmethod
    def typed(cls, text: str) -> Self:
        """`CHEAP+DEAR`, then options: `embedded+local-model:MODEL share=0.2`, `embedded+endpoint:MODEL mode=integer`.

        share, max-cost and seed are those of the sample; all other options are the dear judge's.
        """
        names, options = name_and_options(text, "two-phase:CHEAP+DEAR", "share=0.1")
        cheap, plus, dear = names.partition("+")
        if not plus or not cheap or not dear:
            raise ValueError(
                f"two-phase: takes a cheap and a dear judge, like embedded+local-model:MODEL; got {names!r:.80}"
            )
        own = {name: value for name, value in options.items() if name in OWN}
        others = {name: value for name, value in options.items() if name not in OWN}
        judge = with_options(cls(cheap=judge_named(cheap), dear=judge_named(dear, others)), own)
        assert isinstance(judge, cls)
        return judge

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What both score, in the dear judge's order."""
        return tuple(metric for metric in self.dear.metrics if metric in self.cheap.metrics)

    @property
    def name(self) -> str:
        drawn = f"up to {self.max_cost:g} a model" if self.share is None and self.max_cost else f"{self.most:.3g}"
        return f"two-phase/{self.version}.{self.fingerprint[:8]} {self.cheap.name} + {self.dear.name} ({drawn})"

    @property
    def rubric(self) -> str:
        return self.dear.rubric

    @property
    def most(self) -> float:
        """The share that is drawn, in (0, 1], where no cost limits it."""
        return self.share or (1.0 if self.max_cost else SHARE)

    @property
    def runs_a_network(self) -> bool:  # type: ignore[override]
        """Whether one of its judges does."""
        return self.cheap.runs_a_network or self.dear.runs_a_network

    def summary(self) -> str:
        return f"{self.cheap.name} for all answers, {self.dear.name} for a sample of them."

    def card(self) -> str:
        return (
            f"Two judges. {self.cheap.name} scored every answer; {self.dear.name} scored a sample drawn by chance, by "
            f"question and score. Means, differences, rates and their intervals are estimates of what the dear judge "
            f"would say of all answers: what the cheap one gets wrong, in general or for one model, widens intervals "
            f"and moves nothing. The score of one answer that was not drawn, or of one question, is a prediction. The "
            f"dear judge's own limits stay: {self.dear.card()}"
        )

    def seconds_per_answer(self) -> float:
        return self.cheap.seconds_per_answer() + self.most * self.dear.seconds_per_answer()

    def price(self, answers: Sequence[Answer]) -> float | None:
        prices = self.cheap.price(answers), self.dear.price(answers)
        if prices[0] is None or prices[1] is None:
            return None
        return prices[0] + self.share_of(answers) * prices[1]

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        """Scores of one model's answers, or of several that `Answer.subject` tells apart."""
        with self.at_work(None) as scoring:
            return scoring.score(answers, progress)

    @contextlib.contextmanager
    def at_work(self, store: Store | None) -> Iterator[Scoring]:
        with self.cheap.at_work(store) as cheap, self.dear.at_work(store) as dear:
            yield _Phases(self, cheap, dear)

    def estimate(self, batches: Iterable[Batch], store: Store | None) -> str:
        return planned_work(self.cheap, self.dear, self.share_of, list(batches), store)

    def share_of(self, answers: Sequence[Answer]) -> float:
        """The share of one model's answers that is drawn: (0, 1]. ValueError where a cost sets it and is not known."""
        if self.max_cost is None:
            return self.most
        price = self.dear.price(answers)
        if price is None or (price == 0 and answers):
            raise ValueError(
                f"max_cost needs a dear judge with prices, and {self.dear.name} has none: give price-in and price-out "
                f"(an endpoint), or a share"
            )
        return min(self.most, self.max_cost / price) if price else self.most


class _Phases(Scoring):
    """A two-phase judge at work: the first phase, the draw, the second, and what both say together."""

    def __init__(self, judge: TwoPhase, cheap: Scoring, dear: Scoring) -> None:
        super().__init__(judge)
        self._two, self._cheap, self._dear = judge, cheap, dear
        self._seen: dict[str, dict[str, float | None]] = {}

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        judge = self._two
        first, second = judge.cheap.seconds_per_answer(), judge.most * judge.dear.seconds_per_answer()
        part = first / (first + second) if first + second else 0.5
        cheap = self._cheap.score(answers, lambda share: progress(part * share))
        sample = self._drawn(answers, [_by_metric(scores) for scores in cheap])
        chosen = np.flatnonzero(sample.drawn).tolist()
        told = self._dear.score([answers[at] for at in chosen], lambda share: progress(part + (1 - part) * share))
        dear = dict(zip(chosen, told, strict=True))
        progress(1.0)
        both = _Both(answers, cheap, dear, sample)
        columns = [both.scores(metric) for metric in judge.metrics]
        self._seen = what_was_seen(columns, [answer.question for answer in answers])
        return [list(scores) for scores in zip(*columns, strict=True)] if answers else []

    def facts(self) -> dict[str, object]:
        phases = {"cheap": self._cheap.facts(), "dear": self._dear.facts()}
        outside = next((facts["outside"] for facts in phases.values() if "outside" in facts), None)
        return {"two_phase": self._seen, **phases} | ({} if outside is None else {"outside": outside})

    def _drawn(self, answers: Sequence[Answer], cheap: Sequence[dict[str, Score]]) -> Sample:
        """The sample, subject by subject."""
        first = "aligned" if "aligned" in self._two.metrics else self._two.metrics[0] if self._two.metrics else ""
        score = _numbers([scores[first].score for scores in cheap])
        frame = np.array([unscored(answer.answer) is None for answer in answers], dtype=bool)
        keys = _keys(answers)
        drawn, inclusion = np.zeros(len(answers), dtype=bool), np.full(len(answers), np.nan)
        for subject in dict.fromkeys(answer.subject for answer in answers):
            rows = [row for row, answer in enumerate(answers) if answer.subject == subject]
            share = self._two.share_of([answers[at] for at in rows])
            questions = [answers[at].question for at in rows]
            sample = stratified_sample(
                questions, score[rows], share, [keys[at] for at in rows], frame[rows], self._two.seed
            )
            drawn[rows], inclusion[rows] = sample.drawn, sample.inclusion
        return Sample(drawn, inclusion)


class _Both:
    """Both phases of some answers, metric by metric."""

    def __init__(
        self, answers: Sequence[Answer], cheap: Sequence[Sequence[Score]], dear: dict[int, list[Score]], sample: Sample
    ) -> None:
        self.answers, self.sample = answers, sample
        self.cheap = [_by_metric(scores) for scores in cheap]
        self.dear = {row: _by_metric(scores) for row, scores in dear.items()}
        self.question = np.array([answer.question for answer in answers], dtype=object)

    def scores(self, metric: str) -> list[PhasedScore]:
        """The score of each answer."""
        x = _numbers([scores[metric].score for scores in self.cheap])
        y = np.full(len(x), np.nan)
        for row, scores in self.dear.items():
            if (given := scores[metric].score) is not None:
                y[row] = given
        predictions, error = self._predictions(x, y)
        return [self._score(metric, row, x, y, predictions, error) for row in range(len(x))]

    def _predictions(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """What the dear judge would give, and the standard deviation of its score about that: (answers,) each."""
        predictions, error = np.full(len(x), np.nan), np.full(len(x), np.nan)
        for subject in dict.fromkeys(answer.subject for answer in self.answers):
            rows: Bools = np.array([answer.subject == subject for answer in self.answers], dtype=bool)
            inclusion, drawn = self.sample.inclusion[rows], self.sample.drawn[rows]
            fitted = pseudo_values(x[rows][:, None], y[rows], inclusion, drawn, self.question[rows])
            predictions[rows] = np.clip(fitted.predictions, 0, 100)
            if fitted.labelled > 1:
                error[rows] = float(np.nanstd(fitted.residuals, ddof=1))
        return predictions, error

    def _score(self, metric: str, row: int, x: Floats, y: Floats, predictions: Floats, error: Floats) -> PhasedScore:
        reason = unscored(self.answers[row].answer)
        if reason is not None:
            return PhasedScore(metric, None, reason)
        told = self.dear[row][metric] if row in self.dear else None
        predicted = _or_none(predictions[row]) if told is None else None
        if told is None and predicted is None:
            told = Score(metric, None, NONE_SCORED)
        return PhasedScore(
            metric,
            round(predicted, 4) if predicted is not None else told.score if told else None,
            told.missing if told else None,
            told.spread if told else _or_none(error[row]),
            told.raw if told else None,
            cheap=_or_none(x[row]),
            dear=_or_none(y[row]),
            inclusion=float(self.sample.inclusion[row]),
            drawn=bool(self.sample.drawn[row]),
        )


def _keys(answers: Sequence[Answer]) -> list[str]:
    """A text for each answer that follows from it alone; equal answers are numbered."""
    texts = [f"{answer.subject}\0{answer.question}\0{answer.answer}" for answer in answers]
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() for text in texts]
    times: Counter[str] = Counter()
    keys = []
    for digest in digests:
        keys.append(f"{digest} {times[digest]}")
        times[digest] += 1
    return keys


def _by_metric(scores: Sequence[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def _numbers(scores: Sequence[float | None]) -> Floats:
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
