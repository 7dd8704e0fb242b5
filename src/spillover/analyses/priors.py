"""Model priors: each question before against after narrow training (docs/method.md, section 2a). Knows scores only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.priors_section import show_priors
from spillover.analyses.scores import Scores, questions_of, read, refuse_unlike
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.paired import PriorPost, prior_post
from spillover.maths.reliability import Reliability, noise_ceiling, split_half
from spillover.store import BuildContext


class Priors(Analysis):
    """How each question's score before narrow training goes with its score after, beside what noise allows."""

    before: ScoredAnswers
    after: tuple[ScoredAnswers, ...]
    draws: int = Field(default=2000, ge=99)

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike((self.before, *self.after), self.allow_unlike_judges)
        resampling = Resampling(self.draws, bounds=(0.0, 100.0))
        before = read(self.before, context.store)
        tests: list[dict[str, Any]] = []
        questions: list[dict[str, Any]] = []
        for one in self.after:
            after = read(one, context.store)
            for metric in self.before.metrics:
                questions += _questions(before, after, metric)
                for scope in _scopes(before):
                    tests += _tests(before, after, metric, scope, resampling)
        for statistic in ("wilcoxon_p", "ks_p", "wilcoxon_family_p", "ks_family_p"):
            for row, q in zip(tests, benjamini_hochberg([row[statistic] for row in tests]), strict=True):
                row[statistic.replace("_p", "_q")] = float(q)
        return AnalysisResult({"tests": tests, "questions": questions}, {"before": before.label})

    def show(self, result: AnalysisResult) -> Section:
        return show_priors(result)


def _scopes(scores: Scores) -> tuple[str, ...]:
    formats = dict.fromkeys(scores["format"].tolist())
    return ("all", *formats) if len(formats) > 1 else ("all",)


def _tests(before: Scores, after: Scores, metric: str, scope: str, resampling: Resampling) -> list[dict[str, Any]]:
    """Published statistics for the questions' means and standard deviations over the answers in one format, or all."""
    a, b = (scores if scope == "all" else scores.only(scope) for scores in (before, after))
    names, about = questions_of(a)
    families = [about[name]["family"] for name in names]
    reliable = [split_half(_answers(scores, metric, names)) for scores in (a, b)]
    rows = []
    for what, spread in (("mean", False), ("sd", True)):
        left, right = ((_deviations if spread else Scores.means)(scores, metric, names) for scores in (a, b))
        wide = Resampling(resampling.draws, resampling.level, resampling.seed) if spread else resampling
        ceiling = None if spread else reliable
        rows.append(
            {"model": after.label, "metric": metric, "of": what, "scope": scope}
            | _row(prior_post(left, right, families, wide), ceiling)
        )
    return rows


def _row(found: PriorPost, reliable: Sequence[Reliability] | None) -> dict[str, Any]:
    row = {
        "n": found.n,
        "difference": found.difference.estimate,
        "difference_low": found.difference.low,
        "difference_high": found.difference.high,
        "wilcoxon_p": found.wilcoxon_p,
        "ks_p": found.ks_p,
        "wilcoxon_family_p": found.wilcoxon_family_p,
        "ks_family_p": found.ks_family_p,
        "r": found.r.estimate,
        "r_low": found.r.low,
        "r_high": found.r.high,
        "r_p": found.r.p,
        "slope": found.slope,
        "r2": found.r2,
        "reliability_before": None,
        "reliability_after": None,
        "attainable_r": None,
    }
    if reliable is not None:
        before, after = (one.value for one in reliable)
        row |= {
            "reliability_before": before,
            "reliability_after": after,
            "attainable_r": noise_ceiling(before, after).r,
        }
    return row


def _questions(before: Scores, after: Scores, metric: str) -> list[dict[str, Any]]:
    names, about = questions_of(before)
    left, right = before.means(metric, names), after.means(metric, names)
    return [
        {
            "model": after.label,
            "metric": metric,
            "question": name,
            "category": about[name]["category"],
            "family": about[name]["family"],
            "before": float(left[index]),
            "after": float(right[index]),
        }
        for index, name in enumerate(names)
    ]


def _answers(scores: Scores, metric: str, names: Sequence[str]) -> np.ndarray:
    """(questions, answers): each question's scores, formats together but centred on their format's own mean."""
    values = scores[metric].astype(float).copy()
    for format in np.unique(scores["format"]):
        inside = scores["format"] == format
        if np.isfinite(values[inside]).any():
            values[inside] -= np.nanmean(values[inside])
    owned = [values[scores["question"] == name] for name in names]
    width = max(map(len, owned))
    return np.array([np.pad(one, (0, width - len(one)), constant_values=np.nan) for one in owned])


def _deviations(scores: Scores, metric: str, names: Sequence[str]) -> np.ndarray:
    found = []
    for name in names:
        values = scores[metric][scores["question"] == name]
        values = values[~np.isnan(values)]
        found.append(values.std(ddof=1) if len(values) > 1 else np.nan)
    return np.array(found)
