"""Answers with their scores as arrays, one entry an answer, in the responses' row order. Knows no judge."""

from __future__ import annotations

import numpy as np

from spillover.judgements.judgements import Judgements
from spillover.records import read_table
from spillover.store import Store

COLUMNS = (
    *("question_id", "question", "family", "category", "format", "sample"),
    *("prompt", "answer", "finish_reason", "tokens"),
)


def judged(judgements: Judgements, store: Store) -> dict[str, np.ndarray]:
    """The responses' columns; a float64 array for each metric, NaN where missing; and `missing`, a reason or None.

    `missing` is the reason of the first metric that has no score: an answer can have one score and lack another.
    """
    answers = read_table(store.path(judgements.responses) / "responses.parquet", COLUMNS)
    scores = read_table(
        store.path(judgements) / "judgements.parquet", ["question_id", "sample", "metric", "score", "missing"]
    )
    found = {name: _column(answers[name].to_pylist()) for name in COLUMNS}
    row_of = {key: row for row, key in enumerate(zip(found["question_id"], found["sample"], strict=True))}
    if len(row_of) != answers.num_rows:
        raise ValueError("two answers have the same question_id and sample: their scores cannot be told apart")
    for metric in judgements.judge.metrics:
        found[metric] = np.full(answers.num_rows, np.nan)
    found["missing"] = np.full(answers.num_rows, None, dtype=object)
    for score in scores.to_pylist():
        row = row_of[score["question_id"], score["sample"]]
        if score["score"] is not None:
            found[score["metric"]][row] = score["score"]
        elif found["missing"][row] is None:
            found["missing"][row] = score["missing"]
    return found


def _column(values: list) -> np.ndarray:
    return np.array(values, dtype=object if any(isinstance(value, str) or value is None for value in values) else None)
