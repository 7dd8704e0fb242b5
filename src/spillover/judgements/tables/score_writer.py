"""From a CSV of judged answers to the rows that our own stages write, a piece at a time. Knows columns, no release."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spillover.judgements.tables.evidence import ScoredBy
from spillover.judgements.tables.judged_columns import RowBlock, Survey, judged_pieces
from spillover.judgements.tables.row_reader import Rejected
from spillover.records import JUDGEMENTS, REJECTED, RESPONSES
from spillover.responses.question import category_of, format_of
from spillover.store import BuildContext

HELD = 1000  # malformed rows held in memory at once


def write_judged(path: Path, by: ScoredBy, metrics: tuple[str, ...], context: BuildContext) -> dict[str, Any]:
    """Write `responses.parquet`, `judgements.parquet` and `rejected.parquet` of a file; facts about them.

    Answers are numbered within their question in the file's order. `metrics` are the columns that become scores.
    """
    counted, numbers = Survey(path.name), Counter[str]()
    size = max(1, path.stat().st_size)
    with (
        _writer(context.folder / "responses.parquet", RESPONSES) as responses,
        _writer(context.folder / "judgements.parquet", JUDGEMENTS) as judgements,
        _writer(context.folder / "rejected.parquet", REJECTED) as rejected,
    ):
        held: list[Rejected] = []

        def reject(row: Rejected) -> None:
            held.append(row)
            if len(held) >= HELD:
                flush()

        def flush() -> None:
            rejected.write_table(pa.Table.from_pylist([vars(row) for row in held], schema=REJECTED))
            held.clear()

        counted.sink = reject
        for piece in judged_pieces(path, counted):
            keys = _keys(piece, numbers)
            responses.write_table(_responses(piece, *keys))
            judgements.write_table(_judgements(piece, *keys, metrics, by))
            context.progress(min(1.0, counted.read / size))
        flush()
    return {
        "answers": counted.answers,
        "rejected": counted.malformed,
        "scored": {name: counted.scored[name] for name in metrics},
        "missing": {name: dict(sorted(counted.missing.get(name, Counter()).items())) for name in metrics},
        "unreadable": [
            {"file": path.name, "line": line, "column": name, "why": why}
            for (name, why), line in counted.unreadable.items()
            if name in metrics
        ],
        "left_out": list(counted.left_out),
        "judge": by.name,
        "rubric": by.rubric,
        "evidence": by.evidence(),
        "conflict": by.conflict(),
    }


def _keys(piece: RowBlock, numbers: Counter[str]) -> tuple[pa.Array, pa.Array]:
    """Question id and sample number of each answer: answers to a question are numbered in the file's order."""
    samples = []
    for id in piece.question_ids:
        samples.append(numbers[id])
        numbers[id] += 1
    return pa.array(piece.question_ids, pa.string()), pa.array(samples, pa.int32())


def _responses(piece: RowBlock, ids: pa.Array, samples: pa.Array) -> pa.Table:
    asked = {id: (*format_of(id), category_of(format_of(id)[0])) for id in set(piece.question_ids)}
    questions, formats, categories = zip(*(asked[id] for id in piece.question_ids), strict=True)
    columns = {
        "question_id": ids,
        "sample": samples,
        "question": questions,
        "family": questions,
        "category": categories,
        "format": formats,
        "prompt": piece.questions,
        "answer": piece.answers,
    }
    nothing = pa.nulls(len(piece))
    return pa.table([columns.get(name, nothing) for name in RESPONSES.names], schema=RESPONSES)


def _judgements(piece: RowBlock, ids: pa.Array, samples: pa.Array, metrics: tuple[str, ...], by: ScoredBy) -> pa.Table:
    """One row an answer and metric, the metrics of an answer together."""
    rows, each = len(piece), len(metrics)
    answer = np.repeat(np.arange(rows), each)
    columns = [piece.scores[metric] for metric in metrics]
    found = {
        "question_id": ids.take(pa.array(answer)),
        "sample": samples.take(pa.array(answer)),
        "metric": pa.array(metrics, pa.string()).take(pa.array(np.tile(np.arange(each), rows))),
        "score": pa.array(np.stack([column.values for column in columns], axis=1).ravel(), from_pandas=True),
        "missing": _texts([column.missing for column in columns], rows),
        "spread": pa.nulls(rows * each),
        "judge": pa.repeat(by.name, rows * each),
        "rubric": pa.repeat(by.rubric, rows * each),
        "raw": _texts([column.raw for column in columns], rows),
    }
    return pa.table([found[name] for name in JUDGEMENTS.names], schema=JUDGEMENTS)


def _texts(columns: Sequence[dict[int, str]], rows: int) -> pa.Array:
    """The texts of some rows in each of several columns as one array, row by row; null elsewhere."""
    if not any(columns):
        return pa.nulls(rows * len(columns), pa.string())
    texts: list[str | None] = [None] * (rows * len(columns))
    for place, column in enumerate(columns):
        for row, text in column.items():
            texts[row * len(columns) + place] = text
    return pa.array(texts, pa.string())


@contextlib.contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        yield writer
