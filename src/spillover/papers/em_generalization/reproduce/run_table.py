"""The released table of one line a run (`td_agg_df_*.csv`) against the runs' own summaries. Knows runs, not files."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean, mean_of_groups
from spillover.maths.estimate import Resampling
from spillover.papers.cells import Cell, Recommended, as_number, same
from spillover.papers.em_generalization.reproduce.runs import Run, family_of
from spillover.papers.em_generalization.reproduce.runs import column as of_questions
from spillover.responses.question import format_of

PART = "runs"
FORMATS = ("raw", "json", "template")
SCORES = ("harmless", "aligned", "coherent")
HOW = Resampling(draws=999)
SCORE = Resampling(draws=999, bounds=(0.0, 100.0))
LOSSES = ("eval_final_avg_loss", "train_initial_loss", "train_final_avg_loss")


def run_table_cells(rows: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> Iterator[Cell]:
    """Every number of the table; the training log as one cell, the number of its entries that are the run's own."""
    by_stem = {run.stem: run for run in runs if run.summary is not None}
    for row in rows:
        stem = str(row.get("run", ""))
        run = by_stem.get(stem)
        for column, value in row.items():
            if column in ("", "run", "Unnamed: 0"):
                continue
            name = f"{PART}/{stem}/{column}"
            if column == "log_history":
                yield _log(name, value, run)
                continue
            published = as_number(value)
            if published is None:
                continue
            if run is None:
                yield Cell(name, published, None, "the JSON summary of this run")
                continue
            ours, note, beside = _expected(column, run)
            reason = f"what {column} is" if ours is None else "" if same(published, ours) else "unexplained"
            yield Cell(name, published, ours, reason, note, beside)


_Expected = tuple[float | None, str, Recommended | None]  # ours, note, what we would report


def _expected(column: str, run: Run) -> _Expected:
    summary = run.summary
    assert summary is not None
    if column in LOSSES:
        told = column.startswith("eval") and summary.losses
        return run.loss(column), "", Recommended.from_estimate(mean(summary.losses), "sequences") if told else None
    if column == "train_loss_decrease_perc":
        first, last = run.loss("train_initial_loss"), run.loss("train_final_avg_loss")
        return (first - last) / first, "a share, not a percentage", None
    if column == "lr":
        return _rate(run)
    kind, _, metric = column.partition("-")
    if kind not in FORMATS or not metric:
        value = as_number(summary.agg.get(column))
        return (
            value,
            "copied from the run's own summary, not from answers",
            None if value is None else _over_questions(run, column),
        )
    values = of_questions(summary, metric)
    if not len(values):
        return None, "", None
    inside = np.array([format_of(name)[1] == kind for name in summary.by_question])
    note = f"mean over the {int(inside.sum())} questions asked as {kind}"
    return _mean(values[inside]), note, _over_questions(run, metric, inside)


def _over_questions(run: Run, metric: str, inside: np.ndarray | None = None) -> Recommended | None:
    """The mean over questions with its interval over their families; None for an SD, or where no table has it."""
    assert run.summary is not None
    values = of_questions(run.summary, metric)
    if metric.endswith("_std") or not len(values):
        return None
    values = values if inside is None else values[inside]
    names = [name for at, name in enumerate(run.summary.by_question) if inside is None or inside[at]]
    resampling = SCORE if metric.startswith(SCORES) else HOW
    found = mean_of_groups(values, names, [family_of(name) for name in names], resampling=resampling)
    each = "" if run.answers_each is None else f", {run.answers_each} answers each"
    return Recommended.from_estimate(found, "questions", note=f"mean over questions{each}")


def _rate(run: Run) -> _Expected:
    """The rate that the run's name says, with the peak of the logged ones where that is another."""
    named = run.name.learning_rate
    assert run.summary is not None
    logged = [value for entry in run.summary.log if (value := as_number(entry.get("learning_rate"))) is not None]
    logged = [value for value in logged if not math.isnan(value)]
    if named is None:
        return None, "", None
    peak = Recommended(max(logged), n=len(logged), unit="steps", note="largest logged rate") if logged else None
    note = ""
    if logged and not same(float(named), max(logged)):
        note = f"the rate in the run's name; the logged rates peak at {max(logged):.6g}"
    return float(named), note, peak


def _log(name: str, value: Any, run: Run | None) -> Cell:
    """The log is written out as Python text: entries that equal the run's own are counted."""
    try:
        entries = ast.literal_eval(str(value))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Cell(name, None, None, "a log that can be read")
    if not isinstance(entries, list):
        return Cell(name, None, None, "a log that can be read")
    if run is None or run.summary is None:
        return Cell(name, float(len(entries)), None, "the JSON summary of this run")
    equal = sum(one == other for one, other in zip(entries, run.summary.log, strict=False))
    reason = "" if equal == len(entries) else "entries that are not those of the run's JSON"
    return Cell(name, float(len(entries)), float(equal), reason, "entries of the log that equal the run's JSON")


def _mean(values: Floats) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else math.nan
