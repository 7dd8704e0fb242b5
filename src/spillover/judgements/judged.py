"""Answers with their scores as arrays, one entry an answer, in the responses' row order. Knows no judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spillover.judgements.scored import Columns
from spillover.records import read_table

COLUMNS = (
    *("question_id", "question", "family", "category", "format", "sample"),
    *("prompt", "answer", "finish_reason", "tokens"),
)
NUMBERS = ("sample", "tokens")


def judged(responses: Path, judgements: Path, metrics: Sequence[str]) -> Columns:
    """The responses' columns; a float64 array for each metric, NaN where missing; and `missing`, a reason or None.

    `missing` is the reason of the first metric that has no score: an answer can have one score and lack another.
    A number that is not known is NaN, a text None. The two paths are folders of `responses.parquet` and
    `judgements.parquet`; other metrics that stand in the latter are left out.
    """
    answers = read_table(responses / "responses.parquet", COLUMNS)
    scores = read_table(judgements / "judgements.parquet", ["question_id", "sample", "metric", "score", "missing"])
    found = {name: _column(name, answers[name].to_pylist()) for name in COLUMNS}
    row_of = {key: row for row, key in enumerate(zip(found["question_id"], found["sample"], strict=True))}
    if len(row_of) != answers.num_rows:
        raise ValueError("two answers have the same question_id and sample: their scores cannot be told apart")
    for metric in metrics:
        found[metric] = np.full(answers.num_rows, np.nan)
    found["missing"] = np.full(answers.num_rows, None, dtype=object)
    names = set(metrics)
    for batch in scores.to_batches(max_chunksize=50_000):
        for score in batch.to_pylist():
            if score["metric"] not in names:
                continue
            row = row_of[score["question_id"], score["sample"]]
            if score["score"] is not None:
                found[score["metric"]][row] = score["score"]
            elif found["missing"][row] is None:
                found["missing"][row] = score["missing"]
    return found


def _column(name: str, values: list) -> np.ndarray:
    if name in NUMBERS:
        return np.array(values, dtype=float if None in values else np.int64)
    return np.array(values, dtype=object)
