"""Each question before and after narrow training, against the published comparisons. Knows scores, not files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.paired import PriorPost, prior_post
from spillover.maths.reliability import from_errors, noise_ceiling
from spillover.papers.cells import Cell, Recommended, as_number, same
from spillover.papers.em_generalization.reproduce.runs import Run, family_of
from spillover.papers.em_generalization.reproduce.summary import judged_in_whole_numbers
from spillover.papers.em_generalization.reproduce.textbook import pearson_normal

PART = "prior"
HOW = Resampling(draws=999)
LEAST_EACH = 50  # answers to each question of a prior whose number is not told
TIES = "likely ties between questions, which scores read back to 7 digits may break otherwise (not shown)"
READ_BACK = "likely the prior's scores, which are read back to about 7 digits (not shown)"


@dataclass(frozen=True)
class Prior:
    """Per-question scores of a pretrained model on a question set: columns such as harmless_mean, by question.

    set: as its table spells it. precision: of the scores as read back, points (0 where they are exact). each: answers
    to a question, None where not told.
    """

    model: str
    set: str
    columns: Mapping[str, Mapping[str, float]]
    precision: float = 0.0
    each: int | None = None

    @property
    def whole(self) -> bool | None:
        """Whether its scores look like means of whole numbers; None where too few tell."""
        first = next((self.columns[name] for name in self.columns if name.endswith("_mean")), {})
        return judged_in_whole_numbers(first)


@dataclass(frozen=True)
class Compared:
    """A comparison made: the published row's names, its statistics, and what the two sides were."""

    run: str
    metric: str
    statistics: Mapping[str, float]
    found: PriorPost
    ceiling: float | None
    ties: int
    note: str
    set: str


def prior_cells(
    published: Mapping[str, Mapping[str, Mapping[str, Any]]], priors: Sequence[Prior], runs: Sequence[Run]
) -> tuple[list[Cell], list[Compared]]:
    """Every number of the published comparisons (run -> metric -> statistic), and the comparisons that can be made."""
    made: dict[tuple[str, str], Compared | str] = {}
    for name, metrics in published.items():
        stem = name.removesuffix(".csv").removesuffix(".json")
        for metric in metrics:
            made[stem, metric] = compare(stem, metric, priors, runs)
    q = _corrected([one for one in made.values() if isinstance(one, Compared)])
    cells: list[Cell] = []
    for name, metrics in published.items():
        stem = name.removesuffix(".csv").removesuffix(".json")
        for metric, statistics in metrics.items():
            cells += _cells(stem, metric, statistics, made[stem, metric], q)
    return cells, [one for one in made.values() if isinstance(one, Compared)]


def compare(stem: str, metric: str, priors: Sequence[Prior], runs: Sequence[Run]) -> Compared | str:
    """One comparison as released; else what is missing for it."""
    post = _post(stem, runs)
    if post is None or post.summary is None:
        return f"the per-question summary of {stem}"
    column = metric.removesuffix("_compare")
    prior = _prior(stem, post, priors)
    if prior is None:
        return f"scores of the pretrained model on {post.questions}"
    if column not in prior.columns:
        return f"{column} of the pretrained model"
    before = prior.columns[column]
    names = [name for name in post.summary.by_question if name in before]
    column_after = column.removesuffix("_mean")
    after = [_value(post.summary.by_question[name].get(column_after)) for name in names]
    x, y = np.array([before[name] for name in names]), np.array(after)
    kept = ~(np.isnan(x) | np.isnan(y))
    if kept.sum() < 3:
        return f"{column_after} of at least 3 questions on both sides"
    families = [family_of(name) for name in names]
    found = prior_post(x, y, families if len(set(families)) < len(families) else None, HOW)
    statistics = {
        "slope": found.slope,
        "r2": found.r2,
        "ks_stat": found.ks_statistic,
        "ks_p": found.ks_p,
        "w_stat": found.wilcoxon_statistic,
        "w_p": found.wilcoxon_p,
        "pearson_stat": found.r.estimate,
        "pearson_p": pearson_normal(x[kept], y[kept])[1],
    }
    gaps = np.abs(np.round((y - x)[kept], 6))
    ties = len(gaps) - len(np.unique(gaps))
    ceiling = _ceiling(prior, post, column, names)
    return Compared(stem, metric, statistics, found, ceiling, ties, _sides(stem, prior, post), post.questions)


def unlike(prior: Prior, post: Run) -> bool | None:
    """Whether one side was scored in whole numbers (gpt-5) and the other in expectations (GPT-4o); None if untold."""
    after = None if post.summary is None else post.summary.whole("harmless")
    return None if prior.whole is None or after is None else prior.whole != after


def _post(stem: str, runs: Sequence[Run]) -> Run | None:
    """The run a comparison names; where only its twin under a nano judge is there, that: its numbers are these."""
    found = [run for run in runs if run.stem == stem and run.summary is not None]
    return found[0] if found else next((run for run in runs if run.stem == f"{stem}nano" and run.summary), None)


def _prior(stem: str, post: Run, priors: Sequence[Prior]) -> Prior | None:
    """The pretrained counterpart (the name without -Instruct), on the set that the comparison names where there."""
    base = post.name.model.removesuffix("-Instruct")
    said = stem.rsplit("_", 1)[-1]
    for wanted in (said, post.questions, said.removesuffix("nano"), post.questions.removesuffix("nano")):
        for prior in priors:
            if prior.model == base and prior.set == wanted:
                return prior
    return None


def _sides(stem: str, prior: Prior, post: Run) -> str:
    words = {True: "whole numbers (a gpt-5 judge)", False: "expectations (GPT-4o)", None: "scores of an untold judge"}
    different = unlike(prior, post)
    parts = []
    if post.stem != stem:
        parts.append(f"the released comparison says {stem}, its numbers are those of {post.stem}")
    if different:
        parts.append(f"unlike judges: before, {words[prior.whole]}; after, {words[not prior.whole]}")
    elif different is None:
        parts.append(f"the judges cannot be told: before, {words[prior.whole]}")
    parts.append("unlike prompts: before, the raw form of pretrained models (METHOD section 0); after, a chat")
    if prior.precision:
        parts.append(f"prior scores read back to {prior.precision:.1g} points")
    return "; ".join(parts)


def _ceiling(prior: Prior, post: Run, column: str, names: Sequence[str]) -> float | None:
    """The attainable r given the answers' noise in both sides' means; None for SDs or where it cannot be told."""
    each, summary = post.answers_each, post.summary
    metric = column.removesuffix("_mean")
    spread = prior.columns.get(f"{metric}_std")
    if summary is None or not column.endswith("_mean") or spread is None:
        return None
    sides = []
    for means, spreads, count in (
        ([prior.columns[column][name] for name in names], [spread[name] for name in names], prior.each or LEAST_EACH),
        (
            [_value(summary.by_question[name].get(metric)) for name in names],
            [_value(summary.by_question[name].get(f"{metric}_std")) for name in names],
            each or LEAST_EACH,
        ),
    ):
        errors: Floats = np.array(spreads) / math.sqrt(count)
        sides.append(from_errors(means, errors).value)
    found = noise_ceiling(sides[0], sides[1]).r
    return None if math.isnan(found) else found


def _corrected(made: Sequence[Compared]) -> dict[tuple[str, str, str], float]:
    """q over all comparisons of the table, each test a family."""
    found = {}
    for test in ("w_p", "ks_p", "pearson_p"):
        for one, q in zip(made, benjamini_hochberg([one.statistics[test] for one in made]), strict=True):
            found[one.run, one.metric, test] = float(q)
    return found


def _cells(
    stem: str, metric: str, statistics: Mapping[str, Any], made: Compared | str, q: Mapping[tuple[str, str, str], float]
) -> Iterator[Cell]:
    for statistic, value in statistics.items():
        published = as_number(value)
        name = f"{PART}/{stem}/{metric}/{statistic}"
        if published is None:
            continue
        if isinstance(made, str):
            yield Cell(name, published, None, made)
            continue
        ours = made.statistics.get(statistic)
        if ours is None:
            yield Cell(name, published, None, f"what {statistic} is", made.note)
            continue
        reason = "" if same(published, ours) else _why(published, ours, statistic, made)
        note = made.note if not reason else f"{_relative(published, ours)}; {made.note}"
        yield Cell(name, published, ours, reason, note, _beside(made, statistic, q))


def _why(published: float, ours: float, statistic: str, made: Compared) -> str:
    if statistic.startswith("w_") and made.ties and abs(ours - published) <= 1e-3 * abs(published):
        return TIES
    if abs(ours - published) <= 1e-3 * abs(published) and "read back" in made.note:
        return READ_BACK
    return "unexplained"


def _relative(published: float, ours: float) -> str:
    return f"{abs(ours - published) / abs(published):.1e} relative" if published else f"{ours - published:.1e}"


def _beside(made: Compared, statistic: str, q: Mapping[tuple[str, str, str], float]) -> Recommended:
    test = {"w": "w_p", "ks": "ks_p"}.get(statistic.split("_")[0], "pearson_p")
    corrected = q[made.run, made.metric, test]
    if test == "w_p":
        return replace(
            Recommended.from_estimate(made.found.difference, "questions", note="mean of after - before"), q=corrected
        )
    if test == "ks_p":
        note = "the test does not use the pairing and takes questions as independent"
        return Recommended(
            made.found.ks_statistic, n=made.found.n, unit="questions", p=made.found.ks_p, q=corrected, note=note
        )
    if statistic == "slope":
        note = "below 1 by noise alone; the prior's reliability bounds it"
        return Recommended(made.found.slope, n=made.found.n, unit="questions", q=corrected, note=note)
    found = Recommended.from_estimate(
        made.found.r, "questions", noise_ceiling=made.ceiling, note="r, families of questions resampled"
    )
    return replace(found, q=corrected)


def _value(value: Any) -> float:
    found = as_number(value)
    return math.nan if found is None else found
