"""Answers with their scores as arrays, one entry an answer, in the responses' row order. Knows no judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from spillover.judgements.scored_answers import ScoreColumns
from spillover.records import read_table

COLUMNS = (
    *("question_id", "question", "family", "category", "format", "sample"),
    *("prompt", "answer", "finish_reason", "tokens"),
)
NUMBERS = ("sample", "tokens")


def judged(responses: Path, judgements: Path, metrics: Sequence[str]) -> ScoreColumns:
    """The responses' columns; a float64 array for each metric, NaN where missing; and `missing`, a reason or None.

    `missing` is the reason of the first metric that has no score: an answer can have one score and lack another.
    A number that is not known is NaN, a text None. The two paths are folders of `responses.parquet` and
    `judgements.parquet`; other metrics that stand in the latter are left out.
    """
    answers = read_table(responses / "responses.parquet", COLUMNS)
    scores = read_table(judgements / "judgements.parquet", ["question_id", "sample", "metric", "score", "missing"])
    found = {name: _column(name, answers[name].to_pylist()) for name in COLUMNS}
    keys = list(zip(found["question_id"], found["sample"], strict=True))
    if len(set(keys)) != answers.num_rows:
        raise ValueError("two answers have the same question_id and sample: their scores cannot be told apart")
    found |= {metric: np.full(answers.num_rows, np.nan) for metric in metrics}
    found["missing"] = np.full(answers.num_rows, None, dtype=object)
    named = scores["metric"].to_numpy()
    for metric in dict.fromkeys(named.tolist()):
        if metric in metrics:
            mine = scores.filter(pa.array(named == metric))
            rows = _rows(keys, mine)
            found[metric][rows] = mine["score"].to_numpy()
            why = np.array(mine["missing"].to_pylist(), dtype=object)
            unsaid = np.array([reason is None for reason in found["missing"][rows]], dtype=bool)
            first = np.isnan(found[metric][rows]) & unsaid
            found["missing"][rows[first]] = why[first]
    return found


def _rows(keys: Sequence[tuple[str, int]], scores: pa.Table) -> np.ndarray:
    """Which answer each score is of."""
    theirs = list(zip(scores["question_id"].to_pylist(), scores["sample"].to_pylist(), strict=True))
    if theirs == keys:  # as our own stages write them
        return np.arange(len(keys))
    row_of = {key: row for row, key in enumerate(keys)}
    return np.array([row_of[key] for key in theirs], dtype=np.int64)


def _column(name: str, values: list) -> np.ndarray:
    if name in NUMBERS:
        return np.array(values, dtype=float if None in values else np.int64)
    return np.array(values, dtype=object)
