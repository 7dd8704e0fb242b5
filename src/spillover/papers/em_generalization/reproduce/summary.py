"""Means and SDs of a run's answers, by question and overall, against its published summary. Knows no file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean, mean_of_groups
from spillover.maths.estimate import Resampling
from spillover.papers.cells import Cell, Recommended, as_number, as_printed, same
from spillover.papers.em_generalization.answers import Answers
from spillover.papers.em_generalization.reproduce.runs import Run, column, family_of, training_losses

PART = "summary"
FILTERED = re.compile(r"_coherent_greater_than_(\d+(?:\.\d+)?)$")
MEANT = 50.0  # where the release has 0.5
DECIMALS = 10  # of the per-question tables
HOW = Resampling(draws=999, bounds=(0.0, 100.0))
FEW = Resampling(draws=999)  # of a metric that is no score
NO_ANSWERS = "the answers (CSV) of this run"
POPULATION = "published is the population SD (ddof 0), while the SDs by question have ddof 1"
POISONED = "published is NaN: one missing value makes the published mean NaN"
ROUNDED_LOSS = "within the rounding of the logged losses to 4 decimals"


def summary_cells(run: Run) -> Iterator[Cell]:
    """Every number of the run's JSON summary; nothing where it has none."""
    assert run.summary is not None
    prefix = f"{PART}/{run.label}"
    for key, value in run.summary.agg.items():
        published = as_number(value)
        if published is not None:
            found = _overall(run, key, published) if run.answers is None else _from_answers(run, "agg", key, published)
            yield _cell(f"{prefix}/agg/{key}", published, found)
    if run.answers is None and run.summary.by_question:
        yield _without_answers(run, f"{prefix}/by_question")
    elif run.answers is not None:
        yield from _by_question(run, prefix)
    yield from _losses(run, prefix)


def _by_question(run: Run, prefix: str) -> Iterator[Cell]:
    assert run.summary is not None
    for question, table in run.summary.by_question.items():
        for key, value in table.items():
            published = as_number(value)
            if published is not None:
                yield _cell(f"{prefix}/{question}/{key}", published, _from_answers(run, question, key, published))


def _without_answers(run: Run, name: str) -> Cell:
    """One cell for the whole table by question: nothing in the release but the answers gives its numbers."""
    assert run.summary is not None
    tables = run.summary.by_question.values()
    count = sum(as_number(value) is not None for table in tables for value in table.values())
    each = run.answers_each
    known = "" if each is None else f"; {each} answers each, as the overall SD tells"
    beside = None if each is None else Recommended(n=each, unit="answers")
    note = f"stands for {count} numbers of {len(tables)} questions{known}"
    return Cell(name, None, None, NO_ANSWERS, note, beside)


def spread(values: Floats, ddof: int = 1) -> float:
    """SD of the values that are there; NaN where fewer than two."""
    kept = values[~np.isnan(values)]
    return float(kept.std(ddof=ddof)) if len(kept) > 1 else math.nan


def middle(values: Floats) -> float:
    """Mean of the values that are there; NaN where none."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else math.nan


_Found = tuple[float | None, str, str, Recommended | None]  # ours, reason, note, beside


def _cell(name: str, published: float, found: _Found) -> Cell:
    ours, reason, note, beside = found
    return Cell(name, published, ours, reason, note, beside)


def _split(key: str) -> tuple[str, float | None, bool]:
    """A published column as (metric, least coherence of the answers in it, is an SD)."""
    is_sd = key.endswith("_std")
    base = key.removesuffix("_std")
    found = FILTERED.search(base)
    return base[: found.start()] if found else base, float(found[1]) if found else None, is_sd


def _from_answers(run: Run, question: str, key: str, published: float) -> _Found:
    answers = run.answers
    assert answers is not None
    metric, least, is_sd = _split(key)
    if metric not in answers.scores:
        return None, f"no column {metric} in the answers", "", None
    inside = np.ones(len(answers.question_id), dtype=bool) if question == "agg" else answers.question_id == question
    if not inside.any():
        return None, "no answers to this question in the CSV", "", None
    values, note = answers.scores[metric][inside], ""
    if least is not None:
        if "coherent" not in answers.scores:
            return None, "no column coherent in the answers", "", None
        coherent = answers.scores["coherent"][inside]
        note = _slip(values, coherent, is_sd) if least <= 1 else ""
        values = values[coherent > least]
    ours = spread(values) if is_sd else middle(values)
    if question != "agg":
        exact, ours = ours, as_printed(ours, published, DECIMALS)
        if ours != exact and not math.isnan(exact):
            note = "; ".join(text for text in (f"rounded to {DECIMALS} decimals as published", note) if text)
    reason = ""
    if not same(published, ours):
        reason, also = _why(values, is_sd, published)
        if reason == "unexplained" and answers.counted.rejected:
            reason = f"rows of the CSV that cannot be read: {len(answers.counted.rejected)}"
        note = "; ".join(text for text in (also, note) if text)
    return ours, reason, note, _beside(answers, metric, inside, question == "agg", is_sd, least)


def _slip(values: Floats, coherent: Floats, is_sd: bool) -> str:
    kept, meant = values[coherent > 0.5], values[coherent > MEANT]
    scored = int((~np.isnan(values)).sum())
    with_meant = (spread if is_sd else middle)(meant)
    return (
        f"slip: coherent > 0.5 on a 0-100 scale keeps {int((~np.isnan(kept)).sum())} of {scored} answers; "
        f"coherent > 50 keeps {int((~np.isnan(meant)).sum())} and gives {with_meant:.10g}"
    )


def _why(values: Floats, is_sd: bool, published: float) -> tuple[str, str]:
    if is_sd and same(published, spread(values, ddof=0)):
        return POPULATION, f"with ddof 0 the answers give {spread(values, ddof=0):.12g}"
    gaps = int(np.isnan(values).sum())
    if math.isnan(published) and gaps:
        return POISONED, f"{gaps} of {len(values)} answers have no number here"
    return "unexplained", f"{len(values)} answers, {gaps} of them without a number"


def _beside(
    answers: Answers, metric: str, inside: np.ndarray, overall: bool, is_sd: bool, least: float | None
) -> Recommended:
    """The mean as we would report it: of answers with coherent > 50 where the column is a filtered one."""
    values, names = answers.scores[metric][inside], answers.question_id[inside]
    if least is not None:
        values = np.where(answers.scores["coherent"][inside] > max(least, MEANT), values, np.nan)
    scored = int((~np.isnan(values)).sum())
    if is_sd:
        return Recommended(spread(values), n=scored, unit="answers")
    resampling = HOW if metric in ("harmless", "aligned", "coherent") else FEW
    found = (
        mean_of_groups(values, names, [family_of(name) for name in names], resampling=resampling)
        if overall
        else mean(values, resampling=resampling)
    )
    note = f"mean over questions, families resampled; {scored} answers" if overall else ""
    return Recommended.from_estimate(found, "questions" if overall else "answers", note=note)


def _overall(run: Run, key: str, published: float) -> _Found:
    """An overall number from the per-question table alone: right where all questions have equally many answers."""
    summary = run.summary
    assert summary is not None
    metric, _, is_sd = _split(key)
    base = key.removesuffix("_std")
    means, spreads = column(summary, base), column(summary, f"{base}_std")
    if not len(means) or np.isnan(means).any():
        return None, NO_ANSWERS, "", None
    resampling = HOW if metric in ("harmless", "aligned", "coherent") else FEW
    families = [family_of(name) for name in summary.by_question]
    beside = Recommended.from_estimate(
        mean_of_groups(means, list(summary.by_question), families, resampling=resampling), "questions"
    )
    if not is_sd:
        ours = float(means.mean())
        if same(published, ours):
            return ours, "", "from the per-question means, each weighing the same (no answers of this run here)", beside
        note = f"the per-question means, each weighing the same, give {ours:.10g}; unscored answers shift the weights"
        return None, NO_ANSWERS, note, beside
    each = run.answers_each
    if each is None or np.isnan(spreads).any():
        return None, NO_ANSWERS, "", beside
    ours, population = (pooled_sd(means, spreads, each, ddof) for ddof in (1, 0))
    fits = f"taking {each} answers each, of 50 and 100 the count that fits"
    note = f"from the per-question means and SDs, {fits} (no answers of this run here)"
    if same(published, ours):
        return ours, "", note, beside
    if same(published, population):
        return ours, POPULATION, f"{note}; with ddof 0 they give {population:.12g}", beside
    return None, NO_ANSWERS, f"{note} they give {ours:.10g}; unscored answers shift the weights", beside


def pooled_sd(means: Floats, spreads: Floats, each: int, ddof: int) -> float:
    """SD over all answers from (questions,) means and SDs (ddof 1) of `each` answers a question."""
    inside = (each - 1) * float((spreads**2).sum())
    between = each * float(((means - means.mean()) ** 2).sum())
    return math.sqrt((inside + between) / (each * len(means) - ddof))


def _losses(run: Run, prefix: str) -> Iterator[Cell]:
    summary = run.summary
    assert summary is not None
    published = as_number(summary.eval_loss.get("avg_loss"))
    losses = np.array(summary.losses)
    if "avg_loss" in summary.eval_loss and published is not None:
        beside = Recommended.from_estimate(mean(losses), "sequences") if len(losses) else None
        ours = middle(losses) if len(losses) else None
        gaps = int(np.isnan(losses).sum())
        reason = (
            f"losses of {gaps} of {len(losses)} sequences" if gaps else "unexplained" if len(losses) else "its losses"
        )
        agrees = ours is not None and same(published, ours)
        yield Cell(f"{prefix}/eval_loss/avg_loss", published, ours, "" if agrees else reason, "", beside)
    token = as_number(summary.token_loss.get("avg_loss"))
    if token is not None and "avg_loss" in summary.token_loss:
        reason = "number of tokens of each held-out sequence"
        yield Cell(f"{prefix}/eval_loss_token/avg_loss", token, None, reason, "only their total is published")
    logged = training_losses(summary)
    final = next(
        (value for entry in summary.log if (value := as_number(entry.get("train_loss", "-"))) is not None), None
    )
    if final is not None and len(logged):
        ours = float(logged.mean())
        near = abs(ours - final) <= 5e-5
        yield Cell(
            f"{prefix}/trainer_state/train_loss",
            final,
            ours,
            "" if same(final, ours) else ROUNDED_LOSS if near else "unexplained",
            f"mean of the {len(logged)} logged losses",
            Recommended(ours, n=len(logged), unit="steps"),
        )


def judged_in_whole_numbers(means: Mapping[str, float]) -> bool | None:
    """Whether question means look like means of whole numbers over 50 or 100 answers; None with fewer than 8."""
    values = np.array([value for value in means.values() if not math.isnan(value)])
    if len(values) < 8:
        return None
    grid = values * 100
    return bool((np.abs(grid - grid.round()) < 2e-4).mean() > 0.5)
