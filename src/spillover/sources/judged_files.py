"""From a CSV of judged answers to the rows that our own stages write, a piece at a time. Knows columns, no release."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spillover.records import JUDGEMENTS, REJECTED, RESPONSES, write_table
from spillover.responses.question import category_of, format_of
from spillover.sources.evidence import ScoredBy
from spillover.sources.judged_csv import JudgedRow, Survey, judged_rows
from spillover.store import Work

PIECE = 4000  # answers held in memory at once


def write_judged(path: Path, by: ScoredBy, metrics: tuple[str, ...], work: Work) -> dict[str, Any]:
    """Write `responses.parquet`, `judgements.parquet` and `rejected.parquet` of a file; facts about them.

    Answers are numbered within their question in the file's order. `metrics` are the columns that become scores.
    """
    counted, numbers = Survey(path.name), Counter[str]()
    size = max(1, path.stat().st_size)
    rows = judged_rows(path, counted)
    with (
        _writer(work.folder / "responses.parquet", RESPONSES) as responses,
        _writer(work.folder / "judgements.parquet", JUDGEMENTS) as judgements,
    ):
        while piece := list(islice(rows, PIECE)):
            samples = [_next(numbers, row.question_id) for row in piece]
            responses.write_table(_responses(piece, samples))
            judgements.write_table(_judgements(piece, samples, metrics, by))
            work.tick(min(1.0, counted.read / size))
    write_table([vars(one) for one in counted.rejected], work.folder / "rejected.parquet", REJECTED)
    return {
        "answers": counted.answers,
        "rejected": len(counted.rejected),
        "scored": {name: counted.scored[name] for name in metrics},
        "missing": {name: dict(sorted(counted.missing.get(name, Counter()).items())) for name in metrics},
        "left_out": [name for name in counted.missing if name not in metrics],  # columns without a number
        "judge": by.name,
        "rubric": by.rubric,
        "evidence": by.evidence(),
        "conflict": by.conflict(),
    }


def _responses(rows: list[JudgedRow], samples: list[int]) -> pa.Table:
    asked = {row.question_id: (*format_of(row.question_id), category_of(format_of(row.question_id)[0])) for row in rows}
    about = [asked[row.question_id] for row in rows]
    nothing = [None] * len(rows)
    questions = [question for question, _, _ in about]
    columns = {
        "question_id": [row.question_id for row in rows],
        "sample": samples,
        "question": questions,
        "family": questions,
        "category": [category for _, _, category in about],
        "format": [format for _, format, _ in about],
        "prompt": [row.question for row in rows],
        "answer": [row.answer for row in rows],
        **dict.fromkeys(("finish_reason", "tokens", "prompt_tokens", "seed"), nothing),
    }
    return pa.table([columns[name] for name in RESPONSES.names], schema=RESPONSES)


def _judgements(rows: list[JudgedRow], samples: list[int], metrics: tuple[str, ...], by: ScoredBy) -> pa.Table:
    cells = [row.scores[metric] for row in rows for metric in metrics]
    count, each = len(cells), range(len(metrics))
    columns = {
        "question_id": [row.question_id for row in rows for _ in each],
        "sample": [sample for sample in samples for _ in each],
        "metric": list(metrics) * len(rows),
        "score": [cell.score for cell in cells],
        "missing": [cell.missing for cell in cells],
        "spread": [None] * count,
        "judge": [by.name] * count,
        "rubric": [by.rubric] * count,
        "raw": [cell.raw for cell in cells],
    }
    return pa.table([columns[name] for name in JUDGEMENTS.names], schema=JUDGEMENTS)


@contextlib.contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        yield writer


def _next(numbers: Counter[str], question: str) -> int:
    numbers[question] += 1
    return numbers[question] - 1
