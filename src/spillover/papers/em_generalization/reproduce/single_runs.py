"""Numbers of single runs: their summaries, the table of one line a run (`td_agg_df_*.csv`), EM rates."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from spillover.analyses.rows import TableRow
from spillover.maths.arrays import Bools, Floats
from spillover.maths.bootstrap import mean, mean_of_groups
from spillover.maths.em_rate import em_rate
from spillover.maths.estimate import Resampling
from spillover.papers.cells import UNEXPLAINED, Cell, Recommended, as_float, as_printed, numbers, same
from spillover.papers.em_generalization.contents import Answers, Summary
from spillover.papers.em_generalization.reproduce.released import ReleasedRun, family_of, pooled_sd
from spillover.responses.question import split_question_id

SCORES = ("harmless", "aligned", "coherent")
RESAMPLING = Resampling(draws=999)
OF_SCORES = Resampling(draws=999, bounds=(0.0, 100.0))
FILTERED = re.compile(r"_coherent_greater_than_(\d+(?:\.\d+)?)$")
MEANT = 50.0  # where the release has 0.5
DECIMALS = 10  # of the per-question tables
NO_ANSWERS = "the answers (CSV) of this run"
NO_SUMMARY = "the JSON summary of this run"
NO_LOG = "a log that can be read"
POPULATION = "published is the population SD (ddof 0), while the SDs by question have ddof 1"
POISONED = "published is NaN: one missing value makes the published mean NaN"
ROUNDED_LOSS = "within the rounding of the logged losses to 4 decimals"
LOSSES = ("eval_final_avg_loss", "train_initial_loss", "train_final_avg_loss")
FORMATS = ("raw", "json", "template")
NOT_TABULATED = "nothing published to compare with: the release tabulates no EM rate"
# the one rate that the paper states, of this run, as a share of all answers, to three decimals
STATED_RUN = {"model": "Qwen2.5-32B-Instruct", "data": "finance", "learning_rate": 1e-5, "questions": "fpq"}
STATED_RATES = {"strict": 0.247}


def summary_cells(run: ReleasedRun) -> Iterator[Cell]:
    """Every number of the run's JSON summary; nothing where it has none."""
    prefix = f"summary/{run.label}"
    for column, published in numbers(run.summary.agg).items():
        name = f"{prefix}/agg/{column}"
        if run.answers is None:
            yield _from_questions(run, name, column, published)
        else:
            yield _from_answers(run.answers, name, None, column, published)
    tables = {question: numbers(table) for question, table in run.summary.by_question.items()}
    if run.answers is not None:
        for question, table in tables.items():
            for column, published in table.items():
                yield _from_answers(run.answers, f"{prefix}/{question}/{column}", question, column, published)
    elif tables:  # one cell for them all: nothing in the release but the answers gives their numbers
        count = run.answers_per_question
        note = f"stands for {sum(map(len, tables.values()))} numbers of {len(tables)} questions"
        note += "" if count is None else f"; {count} answers each, as the overall SD tells"
        recommended = None if count is None else Recommended(n=count, unit="answers")
        yield Cell(f"{prefix}/by_question", None, None, NO_ANSWERS, note, recommended)
    yield from _loss_cells(run.summary, prefix)


def run_table_cells(rows: Sequence[Mapping[str, str]], runs: Sequence[ReleasedRun]) -> Iterator[Cell]:
    """Every number of the table; the training log as one cell, the number of its entries that are the run's own."""
    by_name = {run.file_name: run for run in runs if run.has_summary}
    for row in rows:
        file_name = row.get("run", "")
        run, prefix = by_name.get(file_name), f"runs/{file_name}"
        published = numbers(row, ("run", "Unnamed: 0", "log_history"))
        for column in row:
            if column == "log_history":
                yield _log_cell(f"{prefix}/{column}", row[column], run)
            elif column in published:
                yield _run_table_cell(f"{prefix}/{column}", column, published[column], run)


def em_rate_cells(run: ReleasedRun) -> Iterator[Cell]:
    """Both rates of a run with answers; without a score altogether they cannot be rated."""
    answers = run.answers
    if answers is None:
        return
    missing = [metric for metric in ("aligned", "coherent") if metric not in answers.scores]
    if missing:
        for kind in ("strict", "conditional"):
            reason = f"no column {' or '.join(missing)} in the answers"
            yield Cell(f"em_rate/{run.label}/{kind}", None, None, reason)
        return
    families = [family_of(name) for name in answers.question_id]
    aligned, coherent = answers.scores["aligned"], answers.scores["coherent"]
    rate = em_rate(aligned, coherent, answers.question_id, families, resampling=RESAMPLING)
    counts = (
        f"{rate.n_em} EM among {rate.n_scored} scored answers, {rate.n_coherent} of them coherent, "
        f"{rate.n_missing} unscored"
    )
    stated = STATED_RATES if _is_stated(run) else {}
    for kind, estimate, other, other_kind in (
        ("strict", rate.strict, rate.conditional, "conditional"),
        ("conditional", rate.conditional, rate.strict, "strict"),
    ):
        name, share = f"em_rate/{run.label}/{kind}", stated.get(kind)
        note = f"families of questions resampled; {counts}"
        recommended = Recommended.from_estimate(estimate, "answers", note=note)
        if share is None:
            yield Cell(name, None, estimate.estimate, NOT_TABULATED, counts, recommended)
            continue
        unread = len(answers.counted.rejected)
        reason = f"rows of the CSV that cannot be read: {unread}" if unread else UNEXPLAINED
        if round(other.estimate, 3) == share:
            reason = f"stated as the {kind} rate, it is the {other_kind} one"
        note = f"stated to 3 decimals; exactly {estimate.estimate:.10g}; {counts}"
        yield Cell(name, share, round(estimate.estimate, 3), reason, note, recommended)


def em_rate_rows(cells: Sequence[Cell]) -> list[TableRow]:
    """One line a run and rate, of the cells that have one."""
    rows = []
    for cell in cells:
        if cell.part == "em_rate" and cell.recommended is not None:
            run, _, kind = cell.name.partition("/")[2].rpartition("/")
            rate = cell.recommended
            rows.append(
                {"run": run, "kind": kind, "estimate": rate.estimate, "low": rate.low, "high": rate.high, "n": rate.n}
            )
    return rows


def mean_of_known(values: Floats) -> float:
    """Mean of the values that are there; NaN where none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def sd_of_known(values: Floats, ddof: int = 1) -> float:
    """SD of the values that are there; NaN where fewer than two."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=ddof)) if len(known) > 1 else math.nan


def _mean_over_questions(metric: str, values: Floats, questions: Iterable[str], note: str = "") -> Recommended:
    """Mean over questions of values (rows,) with their questions, families of questions resampled."""
    questions = list(questions)
    resampling = OF_SCORES if metric.startswith(SCORES) else RESAMPLING
    families = [family_of(name) for name in questions]
    estimate = mean_of_groups(values, questions, families, resampling=resampling)
    return Recommended.from_estimate(estimate, "questions", note=note)


def _split(column: str) -> tuple[str, float | None, bool]:
    """A published column as (metric, least coherence of the answers in it, whether it is an SD)."""
    base = column.removesuffix("_std")
    filtered = FILTERED.search(base)
    metric = base[: filtered.start()] if filtered else base
    return metric, float(filtered[1]) if filtered else None, column.endswith("_std")


def _from_answers(answers: Answers, name: str, question: str | None, column: str, published: float) -> Cell:
    """A published mean or SD of the answers to a question (None: to all)."""
    metric, least, is_sd = _split(column)
    for needed in (metric,) if least is None else (metric, "coherent"):
        if needed not in answers.scores:
            return Cell(name, published, None, f"no column {needed} in the answers")
    inside = answers.question_id == question if question else np.ones(len(answers.question_id), dtype=bool)
    if not inside.any():
        return Cell(name, published, None, "no answers to this question in the CSV")
    notes, values = [], answers.scores[metric][inside]
    if least is not None:
        coherent = answers.scores["coherent"][inside]
        notes += [_slip(values, coherent, is_sd)] if least <= 1 else []
        values = values[coherent > least]
    ours = exact = sd_of_known(values) if is_sd else mean_of_known(values)
    if question:
        ours = as_printed(exact, published, DECIMALS)
        notes = [f"rounded to {DECIMALS} decimals as published"] * (ours != exact and not math.isnan(exact)) + notes
    reason = UNEXPLAINED
    if not same(published, ours):
        reason, why = _why(values, is_sd, published)
        notes = [why, *notes]
        if reason == UNEXPLAINED and answers.counted.rejected:
            reason = f"rows of the CSV that cannot be read: {len(answers.counted.rejected)}"
    recommended = _recommended_of_answers(answers, inside, question is None, column)
    return Cell(name, published, ours, reason, "; ".join(notes), recommended)


def _slip(values: Floats, coherent: Floats, is_sd: bool) -> str:
    meant = values[coherent > MEANT]
    counts = [int((~np.isnan(scores)).sum()) for scores in (values[coherent > 0.5], values, meant)]
    ours = sd_of_known(meant) if is_sd else mean_of_known(meant)
    return (
        f"slip: coherent > 0.5 on a 0-100 scale keeps {counts[0]} of {counts[1]} answers; "
        f"coherent > 50 keeps {counts[2]} and gives {ours:.10g}"
    )


def _why(values: Floats, is_sd: bool, published: float) -> tuple[str, str]:
    """(reason, note) for a published number that is not that of the answers."""
    if is_sd and same(published, sd_of_known(values, ddof=0)):
        return POPULATION, f"with ddof 0 the answers give {sd_of_known(values, ddof=0):.12g}"
    gaps = int(np.isnan(values).sum())
    if math.isnan(published) and gaps:
        return POISONED, f"{gaps} of {len(values)} answers have no number here"
    return UNEXPLAINED, f"{len(values)} answers, {gaps} of them without a number"


def _recommended_of_answers(answers: Answers, inside: Bools, overall: bool, column: str) -> Recommended:
    """The mean as we would report it: of answers with coherent > 50 where the column is a filtered one."""
    metric, least, is_sd = _split(column)
    values = answers.scores[metric][inside]
    if least is not None:
        values = np.where(answers.scores["coherent"][inside] > max(least, MEANT), values, np.nan)
    count = int((~np.isnan(values)).sum())
    if is_sd:
        return Recommended(sd_of_known(values), n=count, unit="answers")
    if overall:
        note = f"mean over questions, families resampled; {count} answers"
        return _mean_over_questions(metric, values, answers.question_id[inside], note)
    resampling = OF_SCORES if metric.startswith(SCORES) else RESAMPLING
    return Recommended.from_estimate(mean(values, resampling=resampling), "answers")


def _from_questions(run: ReleasedRun, name: str, column: str, published: float) -> Cell:
    """An overall number from the per-question table alone: right where all questions have equally many answers."""
    base, is_sd = column.removesuffix("_std"), column.endswith("_std")
    means, sds = run.summary.column(base), run.summary.column(f"{base}_std")
    if not len(means) or np.isnan(means).any():
        return Cell(name, published, None, NO_ANSWERS)
    recommended = _mean_over_questions(base, means, run.summary.by_question)
    weights = "unscored answers shift the weights"
    if not is_sd:
        ours, note = float(means.mean()), "the per-question means, each weighing the same"
        if same(published, ours):
            return Cell(name, published, ours, "", f"from {note} (no answers of this run here)", recommended)
        return Cell(name, published, None, NO_ANSWERS, f"{note}, give {ours:.10g}; {weights}", recommended)
    count = run.answers_per_question
    if count is None or np.isnan(sds).any():
        return Cell(name, published, None, NO_ANSWERS, "", recommended)
    ours, population = (pooled_sd(means, sds, count, ddof) for ddof in (1, 0))
    fits = f"taking {count} answers each, of 50 and 100 the count that fits"
    note = f"from the per-question means and SDs, {fits} (no answers of this run here)"
    if same(published, ours):
        return Cell(name, published, ours, "", note, recommended)
    if same(published, population):
        note += f"; with ddof 0 they give {population:.12g}"
        return Cell(name, published, ours, POPULATION, note, recommended)
    return Cell(name, published, None, NO_ANSWERS, f"{note} they give {ours:.10g}; {weights}", recommended)


def _loss_cells(summary: Summary, prefix: str) -> Iterator[Cell]:
    """Held-out loss by sequence and by token, and the trainer's mean of the logged losses."""
    losses, logged = np.array(summary.losses), np.array(summary.training_losses)
    published, name = numbers(summary.eval_loss).get("avg_loss"), f"{prefix}/eval_loss/avg_loss"
    if published is not None and not len(losses):
        yield Cell(name, published, None, "its losses")
    elif published is not None:
        gaps = int(np.isnan(losses).sum())
        reason = f"losses of {gaps} of {len(losses)} sequences" if gaps else UNEXPLAINED
        recommended = Recommended.from_estimate(mean(losses), "sequences")
        yield Cell(name, published, mean_of_known(losses), reason, "", recommended)
    published = numbers(summary.token_loss).get("avg_loss")
    if published is not None:
        reason = "number of tokens of each held-out sequence"
        yield Cell(f"{prefix}/eval_loss_token/avg_loss", published, None, reason, "only their total is published")
    published = next((loss for entry in summary.log if (loss := numbers(entry).get("train_loss")) is not None), None)
    if published is not None and len(logged):
        ours = float(logged.mean())
        reason = ROUNDED_LOSS if abs(ours - published) <= 5e-5 else UNEXPLAINED
        note = f"mean of the {len(logged)} logged losses"
        recommended = Recommended(ours, n=len(logged), unit="steps")
        yield Cell(f"{prefix}/trainer_state/train_loss", published, ours, reason, note, recommended)


def _run_table_cell(name: str, column: str, published: float, run: ReleasedRun | None) -> Cell:
    if run is None:
        return Cell(name, published, None, NO_SUMMARY)
    summary = run.summary
    if column in LOSSES:
        has_losses = column.startswith("eval") and summary.losses
        recommended = Recommended.from_estimate(mean(summary.losses), "sequences") if has_losses else None
        return Cell(name, published, run.loss(column), recommended=recommended)
    if column == "train_loss_decrease_perc":
        first, last = run.loss("train_initial_loss"), run.loss("train_final_avg_loss")
        return Cell(name, published, (first - last) / first, note="a share, not a percentage")
    if column == "lr" and run.name.learning_rate is not None:
        return _learning_rate_cell(name, published, run.name.learning_rate, summary)
    format, _, metric = column.partition("-")
    if format in FORMATS and len(values := summary.column(metric)):
        inside = np.array([split_question_id(question)[1] == format for question in summary.by_question])
        note = f"mean over the {inside.sum()} questions asked as {format}"
        return Cell(
            name, published, mean_of_known(values[inside]), note=note, recommended=_of_table(run, metric, inside)
        )
    ours = numbers(summary.agg).get(column)
    if ours is None:
        return Cell(name, published, None, f"what {column} is")
    note = "copied from the run's own summary, not from answers"
    inside = np.ones(len(summary.by_question), dtype=bool)
    return Cell(name, published, ours, note=note, recommended=_of_table(run, column, inside))


def _of_table(run: ReleasedRun, metric: str, inside: Bools) -> Recommended | None:
    """The mean over some questions of the run's table; None for an SD, or where the table does not have it."""
    values = run.summary.column(metric)
    if metric.endswith("_std") or not len(values):
        return None
    count = run.answers_per_question
    note = "mean over questions" + ("" if count is None else f", {count} answers each")
    return _mean_over_questions(metric, values[inside], np.array(list(run.summary.by_question))[inside], note)


def _learning_rate_cell(name: str, published: float, named: float, summary: Summary) -> Cell:
    """The rate that the run's name says, with the peak of the logged ones where that is another."""
    logged = [rate for entry in summary.log if not math.isnan(rate := as_float(entry.get("learning_rate")))]
    if not logged:
        return Cell(name, published, float(named))
    peak, note = max(logged), ""
    if not same(float(named), peak):
        note = f"the rate in the run's name; the logged rates peak at {peak:.6g}"
    recommended = Recommended(peak, n=len(logged), unit="steps", note="largest logged rate")
    return Cell(name, published, float(named), note=note, recommended=recommended)


def _log_cell(name: str, text: str, run: ReleasedRun | None) -> Cell:
    """The log is written out as Python text: entries that equal the run's own are counted."""
    try:
        entries = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        return Cell(name, None, None, NO_LOG)
    if run is None:
        return Cell(name, float(len(entries)), None, NO_SUMMARY)
    equal = sum(entry == own for entry, own in zip(entries, run.summary.log, strict=False))
    note = "entries of the log that equal the run's JSON"
    return Cell(name, float(len(entries)), float(equal), "entries that are not those of the run's JSON", note)


def _is_stated(run: ReleasedRun) -> bool:
    """Whether the paper states a rate of this run: linear schedule, all modules."""
    plain = not run.name.scheduled and run.name.modules in (None, "all") and not run.name.other
    return plain and all(getattr(run.name, field) == value for field, value in STATED_RUN.items())
