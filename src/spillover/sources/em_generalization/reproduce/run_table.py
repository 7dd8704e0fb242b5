"""The released table of one line a run (`td_agg_df_*.csv`) against the runs' own summaries. Knows runs, not files."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.responses.question import format_of
from spillover.sources.em_generalization.reproduce.cells import Beside, Cell, number, same
from spillover.sources.em_generalization.reproduce.runs import Run
from spillover.sources.em_generalization.reproduce.runs import column as of_questions

PART = "runs"
FORMATS = ("raw", "json", "template")
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
            published = number(value)
            if published is None:
                continue
            if run is None:
                yield Cell(PART, name, published, None, "the JSON summary of this run")
                continue
            ours, note, n = _expected(column, run)
            reason = f"what {column} is" if ours is None else "" if same(published, ours) else "unexplained"
            yield Cell(
                PART, name, published, ours, reason, note, None if n is None else Beside(ours, n=n, unit="questions")
            )


def _expected(column: str, run: Run) -> tuple[float | None, str, int | None]:
    """(value, note, number of questions behind it)."""
    summary = run.summary
    assert summary is not None
    if column in LOSSES:
        return run.loss(column), "", None
    if column == "train_loss_decrease_perc":
        first, last = run.loss("train_initial_loss"), run.loss("train_final_avg_loss")
        return (first - last) / first, "a share, not a percentage", None
    if column == "lr":
        return _rate(run)
    kind, _, metric = column.partition("-")
    if kind in FORMATS and metric:
        values = of_questions(summary, metric)
        if not len(values):
            return None, "", None
        inside = np.array([format_of(name)[1] == kind for name in summary.by_question])
        return _mean(values[inside]), f"mean over the {int(inside.sum())} questions asked as {kind}", int(inside.sum())
    value = number(summary.agg.get(column))
    return value, "", len(summary.by_question)


def _rate(run: Run) -> tuple[float | None, str, int | None]:
    """The rate that the run's name says, with the peak of the logged ones where that is another."""
    named = run.name.learning_rate
    assert run.summary is not None
    logged = [value for entry in run.summary.log if (value := number(entry.get("learning_rate"))) is not None]
    logged = [value for value in logged if not math.isnan(value)]
    if named is None:
        return None, "", None
    note = ""
    if logged and not same(float(named), max(logged)):
        note = f"the rate in the run's name; the logged rates peak at {max(logged):.6g}"
    return float(named), note, None


def _log(name: str, value: Any, run: Run | None) -> Cell:
    """The log is written out as Python text: entries that equal the run's own are counted."""
    try:
        entries = ast.literal_eval(str(value))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Cell(PART, name, None, None, "a log that can be read")
    if not isinstance(entries, list):
        return Cell(PART, name, None, None, "a log that can be read")
    if run is None or run.summary is None:
        return Cell(PART, name, float(len(entries)), None, "the JSON summary of this run")
    equal = sum(one == other for one, other in zip(entries, run.summary.log, strict=False))
    reason = "" if equal == len(entries) else "entries that are not those of the run's JSON"
    return Cell(PART, name, float(len(entries)), float(equal), reason, "entries of the log that equal the run's JSON")


def _mean(values: Floats) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else math.nan
