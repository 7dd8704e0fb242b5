"""Each question before and after narrow training, against the published comparisons and shares of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spillover.analyses.rows import TableRow, untested
from spillover.maths.arrays import Floats
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.paired import PriorPost, prior_post
from spillover.maths.reliability import from_errors, noise_ceiling
from spillover.papers.cells import UNEXPLAINED, Cell, Recommended, as_float, as_printed, numbers, same
from spillover.papers.em_generalization.contents import PublishedRow
from spillover.papers.em_generalization.reproduce.released import (
    Comparisons,
    Prior,
    ReleasedRun,
    family_of,
)
from spillover.papers.em_generalization.reproduce.textbook import pearson_normal

RESAMPLING = Resampling(draws=999)
LEAST_ANSWERS = 50  # to each question of a side whose number is not told
TIES = "likely ties between questions, which scores read back to 7 digits may break otherwise (not shown)"
READ_BACK = "likely the prior's scores, which are read back to about 7 digits (not shown)"
CLOSE = 1e-3  # relative: as far as either moves a number
TESTS = {"wilcoxon": "w_p", "ks": "ks_p", "pearson": "pearson_p"}
RATE = re.compile(r"^(?P<test>wilcoxon|pearson|ks)_sig_rate_(?P<bound>0?\.\d+)$")
RATE_DECIMALS, R_DECIMALS = 3, 4  # of the published shares, and of mean r
JUDGES = {True: "whole numbers (a gpt-5 judge)", False: "expectations (GPT-4o)", None: "scores of an untold judge"}


@dataclass(frozen=True)
class ComparisonMade:
    """A published comparison made anew.

    run, metric: as published. questions: the set. statistics: by their published names. change: what we would say.
    ties: pairs of questions that change by the same. note: what the two sides were. q: by test, over all comparisons.
    """

    run: str
    metric: str
    questions: str
    statistics: Mapping[str, float]
    change: PriorPost
    ceiling: float | None
    ties: int
    note: str
    q: Mapping[str, float]


def prior_cells(
    published: Comparisons, priors: Sequence[Prior], runs: Sequence[ReleasedRun]
) -> tuple[list[Cell], list[ComparisonMade]]:
    """Every number of the published comparisons, and those comparisons that can be made."""
    made: dict[tuple[str, str], ComparisonMade | str] = {}
    for run, metrics in published.items():
        for metric in metrics:
            made[run, metric] = compare(run, metric, priors, runs)
    comparisons = {key: comparison for key, comparison in made.items() if isinstance(comparison, ComparisonMade)}
    for test in TESTS.values():
        corrected = benjamini_hochberg([comparison.statistics[test] for comparison in comparisons.values()])
        for (key, comparison), q in zip(comparisons.items(), corrected, strict=True):
            made[key] = comparisons[key] = replace(comparison, q={**comparison.q, test: float(q)})
    cells: list[Cell] = []
    for (run, metric), result in made.items():
        cells += _comparison_cells(f"prior/{run}/{metric}", published[run][metric], result)
    return cells, list(comparisons.values())


def compare(file_name: str, metric: str, priors: Sequence[Prior], runs: Sequence[ReleasedRun]) -> ComparisonMade | str:
    """One comparison as released; else what is missing for it."""
    after = _after(file_name, runs)
    if after is None:
        return f"the per-question summary of {file_name}"
    before = _before(file_name, after, priors)
    if before is None:
        return f"scores of the pretrained model on {after.questions}"
    column = metric.removesuffix("_compare")
    if column not in before.columns:
        return f"{column} of the pretrained model"
    names = [name for name in after.summary.by_question if name in before.columns[column]]
    column_after = column.removesuffix("_mean")
    x, y = _scores(before, column, names), _scores_after(after, column_after, names)
    known = ~(np.isnan(x) | np.isnan(y))
    if known.sum() < 3:
        return f"{column_after} of at least 3 questions on both sides"
    families = [family_of(name) for name in names]
    change = prior_post(x, y, families if len(set(families)) < len(families) else None, RESAMPLING)
    statistics = {
        "slope": change.slope,
        "r2": change.r2,
        "ks_stat": change.ks_statistic,
        "ks_p": change.ks_p,
        "w_stat": change.wilcoxon_statistic,
        "w_p": change.wilcoxon_p,
        "pearson_stat": change.r.estimate,
        "pearson_p": pearson_normal(x[known], y[known])[1],
    }
    gaps = np.abs(np.round((y - x)[known], 6))
    ties = len(gaps) - len(np.unique(gaps))
    ceiling = _ceiling(before, after, column, names) if column.endswith("_mean") else None
    note = _sides(file_name, before, after)
    return ComparisonMade(file_name, metric, after.questions, statistics, change, ceiling, ties, note, {})


def rate_cells(rows: Sequence[Mapping[str, str]], made: Sequence[ComparisonMade]) -> Iterator[Cell]:
    """Every number of `comparison_rates.csv`: computed where all comparisons it counts are here, else bounded."""
    for row in rows:
        suffix, metric = row.get("suffix", ""), row.get("metric", "")
        of_metric = [comparison for comparison in made if comparison.metric == metric]
        comparisons = [comparison for comparison in of_metric if comparison.run.rsplit("_", 1)[-1] == suffix]
        for column, published in numbers(row, ("suffix", "metric")).items():
            yield _rate_cell(
                f"rates/{suffix}/{metric}/{column}", column, published, comparisons, as_float(row.get("total"))
            )


def comparison_rows(made: Sequence[ComparisonMade]) -> list[TableRow]:
    """One line a comparison: r over questions with its interval and ceiling."""
    return [
        {
            "run": comparison.run,
            "set": comparison.questions,
            "metric": comparison.metric,
            **untested(comparison.change.r),
            "noise_ceiling": comparison.ceiling,
            "note": comparison.note,
        }
        for comparison in made
    ]


def in_whole_numbers(means: Mapping[str, float]) -> bool | None:
    """Whether question means look like means of whole numbers over 50 or 100 answers; None with fewer than 8."""
    values = np.array([value for value in means.values() if not math.isnan(value)])
    if len(values) < 8:
        return None
    grid = values * 100
    return bool((np.abs(grid - grid.round()) < 2e-4).mean() > 0.5)


def _scores(prior: Prior, column: str, questions: Sequence[str]) -> Floats:
    return np.array([prior.columns[column][name] for name in questions])


def _scores_after(run: ReleasedRun, column: str, questions: Sequence[str]) -> Floats:
    return np.array([as_float(run.summary.by_question[name].get(column)) for name in questions])


def _after(file_name: str, runs: Sequence[ReleasedRun]) -> ReleasedRun | None:
    """The run a comparison names; where only its twin under a nano judge is there, that: its numbers are these."""
    by_name = {run.file_name: run for run in reversed(runs) if run.has_summary}
    return by_name.get(file_name) or by_name.get(f"{file_name}nano")


def _before(file_name: str, after: ReleasedRun, priors: Sequence[Prior]) -> Prior | None:
    """The pretrained counterpart (the name without -Instruct), on the set that the comparison names where there."""
    model, named = after.name.model.removesuffix("-Instruct"), file_name.rsplit("_", 1)[-1]
    by_set = {prior.questions: prior for prior in reversed(priors) if prior.model == model}
    sets = (named, after.questions, named.removesuffix("nano"), after.questions.removesuffix("nano"))
    return next((by_set[name] for name in sets if name in by_set), None)


def _sides(file_name: str, before: Prior, after: ReleasedRun) -> str:
    """What the two sides were, and in what they are unlike: judge, prompts, precision."""
    first = next((scores for column, scores in before.columns.items() if column.endswith("_mean")), {})
    whole_before, whole_after = in_whole_numbers(first), after.summary.whole("harmless")
    parts = []
    if after.file_name != file_name:
        parts.append(f"the released comparison says {file_name}, its numbers are those of {after.file_name}")
    if whole_before is None or whole_after is None:
        parts.append(f"the judges cannot be told: before, {JUDGES[whole_before]}")
    elif whole_before != whole_after:
        parts.append(f"unlike judges: before, {JUDGES[whole_before]}; after, {JUDGES[whole_after]}")
    parts.append("unlike prompts: before, the raw form of pretrained models (docs/method.md, section 0); after, a chat")
    if before.precision:
        parts.append(f"prior scores read back to {before.precision:.1g} points")
    return "; ".join(parts)


def _ceiling(before: Prior, after: ReleasedRun, column: str, questions: Sequence[str]) -> float | None:
    """The attainable r given the answers' noise in both sides' means; None where it cannot be told."""
    metric = column.removesuffix("_mean")
    if f"{metric}_std" not in before.columns:
        return None
    sides = (
        (_scores(before, column, questions), _scores(before, f"{metric}_std", questions), before.answers_per_question),
        (
            _scores_after(after, metric, questions),
            _scores_after(after, f"{metric}_std", questions),
            after.answers_per_question,
        ),
    )
    reliabilities = [
        from_errors(means, sds / math.sqrt(answers or LEAST_ANSWERS)).value for means, sds, answers in sides
    ]
    ceiling = noise_ceiling(*reliabilities).r
    return None if math.isnan(ceiling) else ceiling


def _comparison_cells(prefix: str, row: PublishedRow, made: ComparisonMade | str) -> Iterator[Cell]:
    for statistic, published in numbers(row).items():
        name = f"{prefix}/{statistic}"
        if isinstance(made, str):
            yield Cell(name, published, None, made)
        elif statistic not in made.statistics:
            yield Cell(name, published, None, f"what {statistic} is", made.note)
        else:
            ours, note, reason = made.statistics[statistic], made.note, UNEXPLAINED
            if not same(published, ours):
                gap = abs(ours - published)
                note = f"{gap / abs(published):.1e} relative; {note}" if published else f"{ours:.1e}; {note}"
                if statistic.startswith("w_") and made.ties and gap <= CLOSE * abs(published):
                    reason = TIES
                elif gap <= CLOSE * abs(published) and "read back" in made.note:
                    reason = READ_BACK
            yield Cell(name, published, ours, reason, note, _recommended(made, statistic))


def _recommended(made: ComparisonMade, statistic: str) -> Recommended:
    change, n = made.change, made.change.n
    if statistic.startswith("w_"):
        note = "mean of after - before"
        return Recommended.from_estimate(change.difference, "questions", q=made.q["w_p"], note=note)
    if statistic.startswith("ks_"):
        note = "the test does not use the pairing and takes questions as independent"
        return Recommended(change.ks_statistic, n=n, unit="questions", p=change.ks_p, q=made.q["ks_p"], note=note)
    q = made.q["pearson_p"]
    if statistic == "slope":
        note = "below 1 by noise alone; the prior's reliability bounds it"
        return Recommended(change.slope, n=n, unit="questions", q=q, note=note)
    note = "r, families of questions resampled"
    return Recommended.from_estimate(change.r, "questions", noise_ceiling=made.ceiling, q=q, note=note)


def _rate_cell(name: str, column: str, published: float, comparisons: Sequence[ComparisonMade], total: float) -> Cell:
    """comparisons: those that are counted in the row, as far as they could be made."""
    if math.isnan(total):
        return Cell(name, published, None, "how many comparisons were counted (total)")
    count, made = int(total), len(comparisons)
    missing = f"{max(count - made, 0)} of {count} comparisons"
    if column == "total":
        return Cell(name, published, float(made) if made == count else None, missing)
    rate = RATE.match(column)
    if rate is None and column != "pearson_stat":
        return Cell(name, published, None, f"what {column} is")
    if not comparisons:
        return Cell(name, published, None, missing)
    if rate is None:
        values, least, decimals = (
            [comparison.statistics["pearson_stat"] for comparison in comparisons],
            -1.0,
            R_DECIMALS,
        )
        ours, note = sum(values) / made, "mean r of those here"
    else:
        p, bound = [comparison.statistics[TESTS[rate["test"]]] for comparison in comparisons], float(rate["bound"])
        values, least, decimals = [float(value < bound) for value in p], 0.0, RATE_DECIMALS
        ours = float((benjamini_hochberg(p) < bound).mean())
        note = "share with q, not p, below the bound; these comparisons as family"
    recommended = Recommended(ours, n=made, unit="comparisons", note=note)
    if made > count:
        reason = f"which {count} of {made} comparisons were counted"
        return Cell(name, published, None, reason, recommended=recommended)
    if made == count:
        return Cell(name, published, as_printed(sum(values) / count, published, decimals), recommended=recommended)
    low, high = ((sum(values) + (count - made) * end) / count for end in (least, 1.0))
    inside = "inside" if low - 5e-4 <= published <= high + 5e-4 else "OUTSIDE"
    note = (
        f"the {made} here give {sum(values) / made:.4g}, so all {count} give between {low:.4g} and {high:.4g}; "
        f"the published value lies {inside}"
    )
    return Cell(name, published, None, missing, note, recommended)
