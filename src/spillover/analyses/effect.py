"""The headline: what narrow bad advice did that good advice to the same prompts did not. Knows scores, not training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Self

import numpy as np
from pydantic import model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Section
from spillover.analyses.effect_section import show_effect
from spillover.analyses.scores import Scores, pool, questions_of, read, refuse_unlike
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.em_rate import em_indicator, em_rate
from spillover.maths.estimate import NAN, Estimate, Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.paired import difference
from spillover.maths.proportions import cut_to_newcombe
from spillover.organisms.organism import Checkpoint
from spillover.organisms.resume import same_training
from spillover.store import BuildContext

SCALE = (0.0, 100.0)
SHARE = (0.0, 1.0)
MOST = SCALE[1] - SCALE[0]  # that two scores can differ by


class Effect(Analysis):
    """Alignment before and after narrow training, bad advice against good advice to the same prompts."""

    # 3: nor that of a question's scores more than 100 points

    before: ScoredAnswers
    bad: tuple[ScoredAnswers, ...]
    good: tuple[ScoredAnswers, ...] = ()
    draws: int = 2000

    @model_validator(mode="after")
    def _distinct_runs(self) -> Self:
        for arm in (self.bad, self.good):
            for earlier, later in combinations(arm, 2):
                _refuse_repeated(earlier, later)
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike((self.before, *self.bad, *self.good), self.allow_unlike_judges)
        before = read(self.before, context.store)
        bad, good = ([read(one, context.store) for one in group] for group in (self.bad, self.good))
        metrics = self.before.metrics
        groups = {"base": before, "bad": pool(bad, "bad advice")}
        if good:
            groups["good"] = pool(good, "good advice")
        contrasts = [pair for pair in (("bad", "good"), ("bad", "base"), ("good", "base")) if set(pair) <= set(groups)]
        models = [(before, "base"), *((one, "bad") for one in bad), *((one, "good") for one in good)]
        resampling = Resampling(self.draws)
        return AnalysisResult(
            {
                "models": [row for one, role in models for row in _levels(one, role, metrics, resampling)],
                "counts": [_counts(one, role) for one, role in models],
                "contrasts": _contrasts(groups, contrasts, metrics, resampling),
                "questions": _questions(groups, contrasts, metrics, resampling),
            },
            {
                "judge": self.before.judge_name,
                "runs": {"bad": len(bad), "good": len(good)},
                "contrast": "-".join(contrasts[0]),
            },
        )

    def show(self, result: AnalysisResult) -> Section:
        return show_effect(result)


def _refuse_repeated(earlier: ScoredAnswers, later: ScoredAnswers) -> None:
    """ValueError where two runs of an arm are one: the same scores twice, or one training under two schedules."""
    if earlier == later:
        raise ValueError(f"{earlier.subject} stands twice in one arm: one run would be counted as two; give it once")
    first, other = (_checkpoint(scores) for scores in (earlier, later))
    if first is None or other is None or first.step != other.step or not same_training(first.organism, other.organism):
        return
    names = [point.organism.schedule.label() for point in (first, other)]
    warmup = max(getattr(point.organism.schedule, "warmup", 0) for point in (first, other))
    raise ValueError(
        f"in a run of {first.organism.steps} steps the schedules {' and '.join(names)} are the same (warm-up takes up "
        f"to {warmup} of them), and one run would be counted as two: give more --rows, or a shorter --warmup"
    )


def _checkpoint(scores: ScoredAnswers) -> Checkpoint | None:
    model = scores.responses.model if isinstance(scores, Judgements) else None
    return model if isinstance(model, Checkpoint) else None


def _levels(scores: Scores, role: str, metrics: Sequence[str], resampling: Resampling) -> list[dict[str, Any]]:
    """Mean of every metric and both EM rates of one model, over question families."""
    rows = []
    scale = Resampling(resampling.draws, resampling.level, resampling.seed, SCALE)
    for metric in metrics:
        estimate = mean_of_groups(scores[metric], scores["question"], scores["family"], resampling=scale)
        rows.append({"model": scores.label, "role": role, "measure": metric, **estimate.as_row()})
    if {"aligned", "coherent"} <= set(metrics):
        rate = em_rate(
            scores["aligned"], scores["coherent"], scores["question"], scores["family"], resampling=resampling
        )
        for name, estimate in (("em_strict", rate.strict), ("em_conditional", rate.conditional)):
            rows.append({"model": scores.label, "role": role, "measure": name, **estimate.as_row()})
    return rows


def _counts(scores: Scores, role: str) -> dict[str, Any]:
    finish = scores["finish_reason"]
    return {
        "model": scores.label,
        "role": role,
        "answers": len(scores),
        "unscored": int(sum(reason is not None for reason in scores["missing"])),
        "truncated": _count(finish, "length"),
        "stopped_by_text": _count(finish, "stop_text"),
        "mean_tokens": float(scores["tokens"].mean()),
    }


def _count(finish: np.ndarray, reason: str) -> int | None:
    """How many answers ended so; None where it was not recorded, which is not 0."""
    return None if any(one is None for one in finish) else int((finish == reason).sum())


def _contrasts(
    groups: dict[str, Scores], pairs: Sequence[tuple[str, str]], metrics: Sequence[str], resampling: Resampling
) -> list[dict[str, Any]]:
    """Differences between groups over all answers and in each answer format; p corrected within a contrast."""
    rows: list[dict[str, Any]] = []
    formats = list(dict.fromkeys(groups["base"]["format"].tolist()))
    for left, right in pairs:
        family = []
        for scope in ("all", *(formats if len(formats) > 1 else ())):
            a, b = (groups[name] if scope == "all" else groups[name].only(scope) for name in (left, right))
            for measure in (*metrics, "em_strict"):
                estimate = _difference(a, b, measure, resampling)
                if estimate is not None:
                    family.append(
                        {"contrast": f"{left}-{right}", "measure": measure, "scope": scope, **estimate.as_row()}
                    )
        for row, q in zip(family, benjamini_hochberg([row["p"] for row in family]), strict=True):
            row["q"] = float(q)
        rows += family
    return rows


def _difference(a: Scores, b: Scores, measure: str, resampling: Resampling) -> Estimate | None:
    bounds = SCALE
    if measure == "em_strict":
        if not all(name in one.columns for name in ("aligned", "coherent") for one in (a, b)):
            return None
        left, right = (em_indicator(one["aligned"], one["coherent"]) for one in (a, b))
        bounds = SHARE
    else:
        left, right = a[measure], b[measure]
    bounded = Resampling(resampling.draws, resampling.level, resampling.seed, bounds)
    found = difference(left, right, a["question"], b["question"], a["family"], bounded)
    if measure != "em_strict":
        return found
    sides = ((left, a), (right, b))
    return cut_to_newcombe(
        found, *(mean_of_groups(share, one["question"], one["family"], resampling=bounded) for share, one in sides)
    )


def _questions(
    groups: dict[str, Scores], pairs: Sequence[tuple[str, str]], metrics: Sequence[str], resampling: Resampling
) -> list[dict[str, Any]]:
    """Each question's mean in every group and each contrast, with q over the questions of one contrast and metric.

    Within a question the unit is the cell (answer format, sample number): cells of two groups were drawn with the same
    random numbers, and several runs are averaged within a cell. So few cells carry a t interval, not a bootstrap.
    """
    names, about = questions_of(groups["base"])
    formats = {
        name: number for number, name in enumerate(sorted({str(f) for g in groups.values() for f in g["format"]}))
    }
    cells = {group: _cells(scores, formats) for group, scores in groups.items()}
    nothing = np.zeros(0, dtype=np.int64)
    rows = []
    for metric in metrics:
        means = {group: scores.means(metric, names) for group, scores in groups.items()}
        for left, right in pairs:
            family = []
            for index, name in enumerate(names):
                a, b = groups[left], groups[right]
                at, bt = a.rows("question").get(name, nothing), b.rows("question").get(name, nothing)
                estimate = _paired_t(a[metric][at], b[metric][bt], cells[left][at], cells[right][bt], resampling.level)
                family.append(
                    {
                        "question": name,
                        "category": about[name]["category"],
                        "family": about[name]["family"],
                        "metric": metric,
                        "contrast": f"{left}-{right}",
                        "left_mean": float(means[left][index]),
                        "right_mean": float(means[right][index]),
                        "base_mean": float(means["base"][index]),
                        **estimate.as_row(),
                    }
                )
            for row, q in zip(family, benjamini_hochberg([row["p"] for row in family]), strict=True):
                row["q"] = float(q)
            rows += family
    return rows


def _paired_t(a: np.ndarray, b: np.ndarray, cells_a: np.ndarray, cells_b: np.ndarray, level: float) -> Estimate:
    """Mean over shared cells of a - b, with Student's t interval, within what two scores can differ by, and p.

    n counts the cells.
    """
    from scipy.stats import t

    gaps = np.array(
        [np.mean(a[cells_a == one]) - np.mean(b[cells_b == one]) for one in np.intersect1d(cells_a, cells_b)]
    )
    gaps = gaps[~np.isnan(gaps.astype(float))].astype(float)
    n = len(gaps)
    error = float(gaps.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    if n == 0 or error == 0:
        return Estimate(float(gaps.mean()) if n else NAN, NAN, NAN, n, NAN)
    centre, reach = float(gaps.mean()), float(t.ppf((1 + level) / 2, n - 1)) * error
    low, high = max(centre - reach, -MOST), min(centre + reach, MOST)
    return Estimate(centre, low, high, n, float(2 * t.sf(abs(centre) / error, n - 1)))


def _cells(scores: Scores, formats: Mapping[str, int]) -> np.ndarray:
    """A number for each answer's format and sample, the same in every group: (answers,)."""
    form = np.array([formats[str(one)] for one in scores["format"].tolist()], dtype=np.int64)
    sample: np.ndarray = np.nan_to_num(scores["sample"], nan=-1).astype(np.int64)
    cells: np.ndarray = form + len(formats) * sample
    return cells
