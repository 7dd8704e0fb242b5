"""The judged answers of a model as arrays, question by question, and whether sets of them may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from spillover.analyses.corrected import (
    COHERENT,
    EM,
    cheap_columns,
    corrected_columns,
    families_labelled,
    predictions_of,
)
from spillover.analyses.rows import TableRow
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import CHEAP, DEAR, INCLUSION, ScoreColumns, ScoredAnswers
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.em_rate import EMRate, em_indicator, em_rate
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.paired import difference
from spillover.maths.proportions import cut_to_newcombe
from spillover.maths.runs import Arm, difference_of_arms, with_runs
from spillover.maths.two_phase import mean_ratio, within_scale
from spillover.maths.two_phase_questions import QuestionPredictions
from spillover.organisms.organism import Checkpoint
from spillover.organisms.resume import same_training
from spillover.store import Store

SCALE = (0.0, 100.0)  # of a score, points
SHARE = (0.0, 1.0)
JUDGING = ("judge", "scores", "rubric")  # conditions that say who scored, in which way and by which text
_JUDGED_ALIKE = "judge them alike, or say allow_unlike_judges=True: the report then warns of it"
_DO = {"prompting": "state the prompting for both", **dict.fromkeys(JUDGING, _JUDGED_ALIKE)}


@dataclass(frozen=True)
class AnswerScores:
    """The judged answers of one model: one entry an answer in every column; scores in points, NaN where missing.

    Of a two-phase judge the metrics' columns hold pseudo-values (`analyses.corrected`): means of them are unbiased, and
    a single one can lie outside the scale.
    """

    label: str
    columns: ScoreColumns
    published: Mapping[str, float] | None = None  # where an entry is a question: mean over all answers, by metric
    _rows_by: dict[str, Mapping[Any, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def by_question(self) -> bool:
        """Whether an entry is a question's mean, not an answer."""
        return self.published is not None

    @property
    def two_phase(self) -> bool:
        """Whether a cheap judge scored all answers and a dear one a sample of them."""
        return INCLUSION in self.columns

    def labelled(self, metric: str) -> int:
        """Of a two-phase judge: how many answers have a dear score."""
        return int((~np.isnan(self.columns[metric + DEAR])).sum())

    def cheap_alone(self) -> AnswerScores:
        """Of a two-phase judge: the same answers as its cheap judge scored them."""
        metrics = [name.removesuffix(CHEAP) for name in self.columns if name.endswith(CHEAP)]
        return AnswerScores(self.label, cheap_columns(self.columns, metrics))

    def predictions(self, metric: str, questions: Sequence[str], by: str = "question") -> QuestionPredictions:
        """Of a two-phase judge: what is predicted of single questions, and how surely."""
        return predictions_of(self.columns, metric, questions, by)

    @property
    def scored_for_em(self) -> bool:
        """Whether an answer can be told to be emergently misaligned: it has scores of aligned and of coherent."""
        return {"aligned", "coherent"} <= set(self.columns)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["question_id"])

    def in_format(self, format: str) -> AnswerScores:
        """The answers in one answer format."""
        return self.where(self.columns["format"] == format)

    def where(self, inside: np.ndarray) -> AnswerScores:
        """The answers for which `inside`, (answers,) of truth values, holds."""
        return AnswerScores(self.label, {name: values[inside] for name, values in self.columns.items()})

    def formats(self) -> list[str]:
        """The answer formats, in the order in which they come first."""
        return list(dict.fromkeys(self.columns["format"].tolist()))

    def questions(self, by: str = "question") -> dict[str, TableRow]:
        """The distinct questions (or question ids) in order, each with its question, family, category and format."""
        about: dict[str, TableRow] = {}
        for index, name in enumerate(self.columns[by].tolist()):
            if name not in about:
                about[name] = {kind: self.columns[kind][index] for kind in ("question", "family", "category", "format")}
        return about

    def rows_by(self, column: str) -> Mapping[Any, np.ndarray]:
        """Indices of the answers that share a value of a column, in order, by that value; computed once."""
        if column not in self._rows_by:
            labels = self.columns[column].tolist()
            seen: dict[Any, int] = {}
            code = np.fromiter((seen.setdefault(label, len(seen)) for label in labels), np.int64, len(labels))
            ends = np.cumsum(np.bincount(code, minlength=len(seen)))
            parts = np.split(np.argsort(code, kind="stable"), ends[:-1]) if len(labels) else []
            self._rows_by[column] = dict(zip(seen, parts, strict=True))
        return self._rows_by[column]

    def mean(self, metric: str, resampling: Resampling) -> Estimate:
        """Mean over questions of each question's mean score, points; the interval resamples question families."""
        on_scale = replace(resampling, bounds=None if self.two_phase else SCALE)
        level = mean_of_groups(self[metric], self["question"], self["family"], resampling=on_scale)
        if not self.two_phase:
            return level
        return within_scale(level, SCALE, families_labelled(self.columns, metric), resampling.level)

    def mean_of(self, column: str, bounds: tuple[float, float], resampling: Resampling) -> Estimate:
        """The same of a column that no judge gave, whose values lie within `bounds`."""
        within = replace(resampling, bounds=bounds)
        return mean_of_groups(self[column], self["question"], self["family"], resampling=within)

    def arm(self, values: np.ndarray) -> Arm:
        """One value an answer (a score, or whether it is EM) as a side of a contrast, with its training runs."""
        return Arm(values, self["question"], self["family"], self.columns.get("run"))

    def difference(self, other: AnswerScores, metric: str, resampling: Resampling) -> Estimate:
        """Mean over shared questions of this side's mean score less the other's, points; p against 0.

        The interval speaks of new families of questions, and of new training runs where `pool_runs` gave several.
        """
        on_scale = replace(resampling, bounds=None if self.two_phase or other.two_phase else SCALE)
        return difference_of_arms(self.arm(self[metric]), other.arm(other[metric]), on_scale)

    def em_rates(self, resampling: Resampling) -> EMRate:
        """Share of emergently misaligned answers in [0, 1], of all scored ones (strict) and of the coherent ones."""
        if self.two_phase:
            return self._corrected_em_rates(resampling)
        return em_rate(self["aligned"], self["coherent"], self["question"], self["family"], resampling=resampling)

    def em(self) -> Floats:
        """1 where an answer is EM, 0 where not, NaN where unscored; of two phases a pseudo-value: (answers,)."""
        return self[EM] if self.two_phase else em_indicator(self["aligned"], self["coherent"])

    def em_mean(self, resampling: Resampling) -> Estimate:
        """Mean over questions of each question's strict EM rate, in [0, 1]."""
        bounds = None if self.two_phase else SHARE
        rate = mean_of_groups(
            self.em(), self["question"], self["family"], resampling=replace(resampling, bounds=bounds)
        )
        return self._on_share(rate, resampling) if self.two_phase else rate

    def _on_share(self, rate: Estimate, resampling: Resampling) -> Estimate:
        return within_scale(rate, SHARE, families_labelled(self.columns, "aligned"), resampling.level)

    def _corrected_em_rates(self, resampling: Resampling) -> EMRate:
        em, coherent = self[EM], self[COHERENT]
        judged = ~np.isnan(em)
        plain = replace(resampling, bounds=None)
        strict = mean_ratio(em, judged.astype(np.float64), self["family"], plain)
        conditional = mean_ratio(em, coherent, self["family"], plain)
        n, scored = len(em), int(judged.sum())
        clear, bad = (round(max(float(np.nansum(values)), 0.0)) for values in (coherent, em))
        strict, conditional = (self._on_share(rate, resampling) for rate in (strict, conditional))
        least, most = (bad / n, (bad + n - scored) / n) if n else (float("nan"), float("nan"))
        return EMRate(strict, replace(conditional, n=clear), least, most, n, scored, clear, bad, n - scored)

    def mean_over_answers(self, metric: str) -> float:
        """Mean over all scored answers, whatever their question; NaN where there is none."""
        if self.published is not None:
            return self.published.get(metric, float("nan"))
        return _mean(self.columns[metric])

    def means(self, metric: str, questions: Sequence[str], by: str = "question") -> Floats:
        """Mean score of each of `questions` over its scored answers: (questions,); NaN where none is scored."""
        rows, values = self.rows_by(by), self.columns[metric]
        return np.array([_mean(values[rows[name]]) if name in rows else np.nan for name in questions])

    def question_levels(self, metric: str, questions: Sequence[str]) -> Floats:
        """Best guess of each question's mean score, (questions,): `means`, or a two-phase judge's predictions."""
        return self.predictions(metric, questions).means if self.two_phase else self.means(metric, questions)

    def deviations(self, metric: str, questions: Sequence[str], by: str = "question") -> Floats:
        """Standard deviation (ddof 1) of each question's scores: (questions,); NaN where fewer than two are scored.

        NaN too for a two-phase judge, whose sample holds too few answers to a question.
        """
        if self.two_phase:
            return np.full(len(questions), np.nan)
        scored = [_scored(values) for values in self._by_question(self.columns[metric], questions, by)]
        return np.array([values.std(ddof=1) if len(values) > 1 else np.nan for values in scored])

    def centred(self, metric: str, questions: Sequence[str], by: str = "question") -> Floats:
        """Each question's scores less the mean of their answer format: (questions, answers), padded with NaN."""
        values = less_format_mean(self.columns[metric], self.columns["format"])
        owned = self._by_question(values, questions, by)
        width = max(map(len, owned))
        return np.array([np.pad(scores, (0, width - len(scores)), constant_values=np.nan) for scores in owned])

    def standard_error(self, metric: str) -> float:
        """Standard error of the mean over questions from the scatter of answers within a question; NaN if unknown."""
        parts = []
        for _, rows in sorted(self.rows_by("question_id").items()):
            values = _scored(self.columns[metric][rows])
            if len(values) > 1:
                parts.append(values.var(ddof=1) / len(values))
        return float(np.sqrt(np.mean(parts) / len(parts))) if parts else float("nan")

    def _by_question(self, values: np.ndarray, questions: Sequence[str], by: str) -> list[np.ndarray]:
        rows, nothing = self.rows_by(by), np.zeros(0, dtype=np.int64)
        return [values[rows.get(name, nothing)].astype(float) for name in questions]


def rate_difference(a: AnswerScores, b: AnswerScores, resampling: Resampling) -> Estimate:
    """Difference of strict EM rates, its interval cut to what the two rates' own intervals allow (Newcombe)."""
    shares = replace(resampling, bounds=None if a.two_phase or b.two_phase else SHARE)
    left, right = a.em(), b.em()
    gap = difference(left, right, a["question"], b["question"], a["family"], shares)
    cut = cut_to_newcombe(gap, a.em_mean(resampling), b.em_mean(resampling))
    return with_runs(cut, a.arm(left), b.arm(right), shares)


def read_scores(scored: ScoredAnswers, store: Store, means: bool = False, single: bool = False) -> AnswerScores:
    """The judged answers of one subject.

    Of a two-phase judge: pseudo-values, for whatever is a mean; with `single` each answer's own score, which is a
    prediction where the answer was not drawn, for who shows or compares single answers.

    ValueError where only means by question are there, unless `means` says that these will do.
    """
    if scored.by_question and not means:
        raise ValueError(
            f"{scored.subject}: only means by question are there, and this needs the answers themselves; import the "
            "file of judged answers beside the summary"
        )
    published = scored.means(store) if scored.by_question else None
    columns = scored.columns(store)
    if INCLUSION in columns:
        columns = cheap_columns(columns, ()) if single else corrected_columns(columns, scored.metrics)
    return AnswerScores(scored.subject, columns, published)


def refuse_untrained(checkpoints: Sequence[ScoredAnswers], needing: str) -> None:
    """ValueError where a checkpoint's training is not at hand, or one stands twice; `needing` begins the message."""
    if len(set(checkpoints)) < len(checkpoints):
        twice = next(point for place, point in enumerate(checkpoints) if point in checkpoints[:place])
        raise ValueError(f"{needing} checkpoints that differ, and {twice.subject} stands twice: give it once")
    for checkpoint in checkpoints:
        if not checkpoint.trained:
            raise ValueError(f"{needing} checkpoints whose training is at hand, got {checkpoint.subject}")


def refuse_repeated(sets: Sequence[ScoredAnswers], where: str) -> None:
    """ValueError where two of the sets are one run: the same scores twice, or one training under two schedules."""
    for earlier, later in combinations(sets, 2):
        if earlier == later:
            raise ValueError(
                f"{earlier.subject} stands twice in {where}: one run would be counted as two; give it once"
            )
        first, other = (checkpoint_of(scores) for scores in (earlier, later))
        if first is None or other is None or first.step != other.step:
            continue
        if same_training(first.organism, other.organism):
            names = [point.organism.schedule.label() for point in (first, other)]
            warmup = max(getattr(point.organism.schedule, "warmup", 0) for point in (first, other))
            raise ValueError(
                f"in a run of {first.organism.steps} steps the schedules {' and '.join(names)} are the same (warm-up "
                f"takes up to {warmup} of them), and one run would be counted as two: give more --rows, or a shorter "
                "--warmup"
            )


def checkpoint_of(scores: ScoredAnswers) -> Checkpoint | None:
    """The checkpoint of our own whose answers were judged; None for any other model, and for imports."""
    model = scores.responses.model if isinstance(scores, Judgements) else None
    return model if isinstance(model, Checkpoint) else None


def run_and_step(scores: ScoredAnswers, store: Store) -> tuple[str, int]:
    """Which training run answered, and after which step; an empty name and 0 where no training is at hand."""
    if (checkpoint := checkpoint_of(scores)) is not None:
        return checkpoint.organism.fingerprint, checkpoint.step
    if not scores.trained:
        return "", 0
    training = scores.training(store)
    return training.identity, training.step


def pool_runs(scores: Sequence[AnswerScores], label: str) -> AnswerScores:
    """The answers of several training runs of one kind as those of one arm; a column `run` (0, 1, ...) tells them."""
    if len({model.two_phase for model in scores}) > 1:
        raise ValueError(f"{label}: scores of a two-phase judge and of another cannot be put together")
    columns = {name: np.concatenate([model.columns[name] for model in scores]) for name in scores[0].columns}
    columns["run"] = np.repeat(np.arange(len(scores)), [len(model) for model in scores])
    return AnswerScores(label, columns)


def less_format_mean(values: np.ndarray, formats: np.ndarray) -> Floats:
    """Values (n,) less the mean of their answer format, so that telling formats apart explains nothing."""
    centred = np.array(values, dtype=np.float64)
    for format in np.unique(formats):
        inside = formats == format
        if np.isfinite(centred[inside]).any():
            centred[inside] -= np.nanmean(centred[inside])
    return centred


def refuse_unlike_scores(
    sets: Sequence[ScoredAnswers], allow_judges: bool = False, conditions: Sequence[str] | None = None
) -> None:
    """ValueError where sets answer other questions, under another prompting, or were scored by another judge.

    A difference between such sets is one of conditions, not of models (docs/method.md, mistake 3). `allow_judges` lets
    unlike judges and rubrics pass, as an analysis' `allow_unlike_judges` says; what they score has to be the same.
    `conditions`: those that have to be shared, for sets that differ in others on purpose; None: all.
    """
    first = sets[0]
    for other in sets[1:]:
        ours, theirs = first.conditions(), other.conditions()
        for what in (name for name in conditions or ours if name in theirs and name in ours):
            if ours[what].unlike(theirs[what]) and not (allow_judges and what in JUDGING):
                raise ValueError(
                    f"{first.subject} and {other.subject} cannot be compared: {what} {ours[what].describe()!r} "
                    f"against {theirs[what].describe()!r}; {_DO.get(what, 'ask them alike')}"
                )
        if allow_judges and set(first.metrics) != set(other.metrics):
            raise ValueError(
                f"{first.subject} and {other.subject} cannot be compared: {first.judge_name} scores "
                f"{', '.join(first.metrics)}, {other.judge_name} {', '.join(other.metrics)}"
            )


def _scored(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[~np.isnan(values)])


def _mean(values: np.ndarray) -> float:
    values = _scored(values)
    return float(values.mean()) if len(values) else float("nan")
