"""How far judges agree on the same answers. Knows scores and who gave them; knows no judge and no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from pydantic import Field

from spillover.analyses.agreement_section import show_agreement
from spillover.analyses.analysis import Analysis, AnalysisResult, Rows
from spillover.analyses.blocks import Section
from spillover.analyses.matched import Judged, by_judge, same_answers
from spillover.judgements.scored_answers import ScoreColumns, ScoredAnswers
from spillover.maths.agreement import auc, kappa
from spillover.maths.bootstrap import mean_of_groups, question_means
from spillover.maths.correlation import pearson, spearman
from spillover.maths.em_rate import EMRule, em_indicator
from spillover.maths.estimate import NAN, Estimate, Resampling
from spillover.store import BuildContext

RULE = EMRule()


class Agreement(Analysis):
    """How far judges agree on the same answers: correlation, AUC and kappa at the EM thresholds, bias by format."""

    judgements: tuple[ScoredAnswers, ...] = Field(
        min_length=2
    )  # of one judge as many sets as there are; the first leads
    draws: int = Field(default=2000, ge=99)

    def analyse(self, context: BuildContext) -> AnalysisResult:
        judges = by_judge(self.judgements, context.store)
        if len(judges) < 2:
            raise ValueError(f"all sets were judged by {judges[0].label}: agreement needs the scores of two judges")
        resampling = Resampling(self.draws)
        names = distinct_names(judges)
        tables: dict[str, Rows] = {"agreement": [], "bias": [], "em": [], "questions": [], "counts": []}
        for (first, one), (second, other) in combinations(zip(names, judges, strict=True), 2):
            pair = {"first": first, "second": second}
            both = _Both.of(one, other)
            for name, rows in (
                ("agreement", _agreement(both, resampling)),
                ("bias", _bias(both, resampling)),
                ("em", _em(both)),
                ("questions", _questions(both, resampling.level)),
            ):
                tables[name] += [pair | row for row in rows]
        tables["counts"] = [row for name, judge in zip(names, judges, strict=True) for row in _counts(name, judge)]
        about = {name: {"judge": one.judge, "rubric": one.rubric} for name, one in zip(names, judges, strict=True)}
        return AnalysisResult(tables, {"judges": about, "names": names})

    def show(self, result: AnalysisResult) -> Section:
        return show_agreement(result)


def distinct_names(judges: Sequence[Judged]) -> list[str]:
    """A name for each judge: its own, with the rubric where one judge scored by several."""
    twice = {one.judge for one in judges if sum(other.judge == one.judge for other in judges) > 1}
    return [one.label if one.judge in twice else one.judge for one in judges]


class _Both:
    """Two judges' scores of the same answers, row by row."""

    def __init__(
        self, about: ScoreColumns, first: ScoreColumns, second: ScoreColumns, metrics: tuple[str, ...]
    ) -> None:
        self.about, self.first, self.second, self.metrics = about, first, second, metrics

    @classmethod
    def of(cls, one: Judged, other: Judged) -> _Both:
        metrics = tuple(metric for metric in one.metrics if metric in other.metrics)
        if not metrics:
            raise ValueError(f"{one.label} and {other.label} score no metric both: nothing to compare")
        rows, others = same_answers(one, other)
        names = ("question", "family", "category", "format", "subject")
        return cls(
            {name: one.scores[name][rows] for name in names},
            {name: one.scores[name][rows] for name in metrics},
            {name: other.scores[name][others] for name in metrics},
            metrics,
        )

    def only(self, keep: np.ndarray) -> _Both:
        """Some of the answers."""
        about, first, second = (
            {name: values[keep] for name, values in part.items()} for part in (self.about, self.first, self.second)
        )
        return _Both(about, first, second, self.metrics)

    def scopes(self) -> Iterator[tuple[str, str, _Both]]:
        """All answers, then each format and each category, where there are several."""
        yield "all", "all", self
        for kind in ("format", "category"):
            labels = list(dict.fromkeys(self.about[kind].tolist()))
            for label in labels if len(labels) > 1 else ():
                yield kind, str(label), self.only(self.about[kind] == label)

    def flags(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Whether each answer is EM to the first and to the second judge (1, 0, NaN); None where they cannot say."""
        if not {"aligned", "coherent"} <= set(self.metrics):
            return None
        first, second = (em_indicator(part["aligned"], part["coherent"], RULE) for part in (self.first, self.second))
        return first, second


def _agreement(both: _Both, resampling: Resampling) -> Rows:
    rows: Rows = []
    for kind, scope, part in both.scopes():
        family = part.about["family"]

        def add(metric: str, statistic: str, estimate: Estimate, of: str = "answers") -> None:
            row = {"kind": kind, "scope": scope, "of": of, "metric": metric, "statistic": statistic}  # noqa: B023
            ends = estimate.as_row()
            rows.append(row | {name: ends[name] for name in ("estimate", "low", "high", "n")})

        for metric in part.metrics:
            first, second = part.first[metric], part.second[metric]
            add(metric, "r", pearson(first, second, family, resampling))
            add(metric, "rank r", spearman(first, second, family, resampling))
            if metric == "aligned":
                low = np.where(np.isnan(first), np.nan, first < RULE.aligned_below)
                add(metric, "auc", auc(second, low, family, resampling))
            if kind == "all":
                add(metric, "r", _of_questions(part, metric, resampling), "question means")
        flags = part.flags()
        if flags is not None:
            add("em", "kappa", kappa(*flags, family, resampling))
    return rows


def _of_questions(both: _Both, metric: str, resampling: Resampling) -> Estimate:
    """Correlation of the two judges' means of each question and subject, over answers that both scored."""
    first, second = both.first[metric], both.second[metric]
    scored = ~(np.isnan(first) | np.isnan(second))
    question = np.array([f"{a}\x00{b}" for a, b in zip(both.about["subject"], both.about["question"], strict=True)])
    keys, family = question[scored], both.about["family"][scored]
    if not len(keys):
        return Estimate.missing()
    ours, theirs = (question_means(values[scored], keys)[0] for values in (first, second))
    return pearson(ours, theirs, [family[keys == key][0] for key in np.unique(keys)], resampling)


def _bias(both: _Both, resampling: Resampling) -> Rows:
    """Second less first, mean over questions."""
    bounded = Resampling(resampling.draws, resampling.level, resampling.seed, (-100.0, 100.0))
    rows = []
    for kind, scope, part in both.scopes():
        for metric in part.metrics:
            gaps = part.second[metric] - part.first[metric]
            estimate = mean_of_groups(gaps, part.about["question"], part.about["family"], resampling=bounded).as_row()
            ends = {name: estimate[name] for name in ("estimate", "low", "high", "n")}
            rows.append({"kind": kind, "scope": scope, "metric": metric} | ends)
    return rows


def _em(both: _Both) -> Rows:
    """How many answers are EM to both, to one of them, to none."""
    rows = []
    for kind, scope, part in both.scopes():
        flags = part.flags()
        if flags is None:
            return []
        first, second = flags
        scored = ~(np.isnan(first) | np.isnan(second))
        a, b = first[scored] == 1, second[scored] == 1
        counts = {"both": a & b, "only_first": a & ~b, "only_second": ~a & b, "neither": ~a & ~b}
        rates = {name: float(flag.mean()) if len(flag) else NAN for name, flag in (("first", a), ("second", b))}
        rows.append(
            {"kind": kind, "scope": scope, "answers": len(first), "unscored": int((~scored).sum())}
            | {name: int(found.sum()) for name, found in counts.items()}
            | {f"{name}_rate": rate for name, rate in rates.items()}
        )
    return rows


def _questions(both: _Both, level: float) -> Rows:
    """Each question's means by both judges, their difference with Student's t interval, and r over its answers."""
    rows = []
    for question in dict.fromkeys(both.about["question"].tolist()):
        part = both.only(both.about["question"] == question)
        for metric in part.metrics:
            first, second = part.first[metric], part.second[metric]
            scored = ~(np.isnan(first) | np.isnan(second))
            a, b = first[scored], second[scored]
            varied = len(a) > 2 and a.std() > 0 and b.std() > 0
            row = {"question": question, "category": part.about["category"][0], "metric": metric, "n": len(a)}
            means = {
                "first_mean": float(a.mean()) if len(a) else NAN,
                "second_mean": float(b.mean()) if len(a) else NAN,
            }
            rows.append(row | means | _gap(b - a, level) | {"r": float(np.corrcoef(a, b)[0, 1]) if varied else NAN})
    return rows


def _gap(gaps: np.ndarray, level: float) -> dict[str, float]:
    from scipy.stats import t

    n = len(gaps)
    centre = float(gaps.mean()) if n else NAN
    error = float(gaps.std(ddof=1) / np.sqrt(n)) if n > 1 else NAN
    reach = float(t.ppf((1 + level) / 2, n - 1)) * error if error > 0 else NAN
    return {"bias": centre, "bias_low": centre - reach, "bias_high": centre + reach}


def _counts(name: str, one: Judged) -> Rows:
    rows = []
    for metric in one.metrics:
        lacking = int(np.isnan(one.scores[metric]).sum())
        row = {"judge": name, "rubric": one.rubric, "metric": metric, "answers": len(one.scores)}
        rows.append(row | {"scored": len(one.scores) - lacking, "missing": lacking, "why": one.missing(metric)})
    return rows
