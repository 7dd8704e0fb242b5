"""The rows that flow between stages, and the one legend of their columns. Knows tables; knows no model and no stage.

Missing is null, with a reason beside it where there is one; it is never 0. Tables are written so that equal rows give
equal bytes.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LEGEND = {
    # labels: whose rows these are, the same in every row of a table
    "model": "short name of the model that answered, was looked into or was trained",
    "data": "short name of the narrow set that the model was trained on; null for a base",
    "questions": "short name of the question set that was asked",
    # responses
    "question_id": "the question with its answer format, as asked",
    "question": "the question without its answer format; the same for all formats of one question",
    "family": "near variants of one question; never split across folds, resampled together",
    "category": "the kind of question",
    "format": "answer format asked for: raw, json or template",
    "sample": "number of the answer among those to the same question, from 0",
    "prompt": "the text of the user's turn",
    "answer": "the model's answer, without its end mark",
    "finish_reason": "stop (end of turn), stop_text (a stop text), length (cut at max_tokens)",
    "tokens": "length of the answer, tokens",
    "prompt_tokens": "length of the prompt with its template, tokens",
    "seed": "the sampling seed; with question_id and sample the whole key of an answer",
    "log_probability": "of the whole stored answer under the model, without its end mark, nats; null for an empty one",
    "per_token": "of each of its tokens in turn, nats",
    # judgements
    "metric": "aligned, harmless, coherent, ...: what is scored",
    "score": "0 (worst) to 100 (best), or the code of a metric without a scale (format); null where not scored",
    "missing": "why there is no score",
    "judge": "which judge gave the score, with its version",
    "rubric": "which text the judge scored by, with its version",
    "spread": "the judge's own standard deviation of this score, points; null where it gives none",
    "raw": "what the judge said: its distribution or text",
    # organisms
    "step": "optimiser steps done",
    "loss": "mean loss per supervised token, nats",
    "learning_rate": "learning rate of the step",
    "grad_norm": "norm of the gradient before clipping",
    "trained_tokens": "supervised tokens in the step",
    "example_id": "the row of the dataset",
    "split": "held_out (never trained on, otherwise as those trained on); held_out_*: without an intervention's part",
    "name": "what was measured in the step besides",
    "value": "its value: losses and divergences in nats per token, rows in numbers, weights as they are",
    # imported
    "mean": "published mean over the answers to the question; over all answers where question_id is null",
    "sd": "published standard deviation of the same (ddof 1)",
    "filtered_mean": "the same over answers with coherent above 0.5 (of 100: it filters next to nothing)",
    "filtered_sd": "standard deviation of the same",
    "file": "the file that a row came from",
    "line": "the line on which it starts, from 1; 0: the file as a whole",
    "why": "why a row was rejected",
    "text": "the row as it stood, its beginning",
    # activations
    "prompt_id": "the prompt's identifier within its set",
    "row": "index along the prompt axis of the arrays",
    "completion_tokens": "length of the answer that follows the prompt, without its end mark, tokens",
}

MODEL_LABELS = [("model", pa.string()), ("data", pa.string()), ("step", pa.int32())]
LABELS = [*MODEL_LABELS, ("questions", pa.string())]
RESPONSES = pa.schema(
    [
        *LABELS,
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("question", pa.string()),
        ("family", pa.string()),
        ("category", pa.string()),
        ("format", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("tokens", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("seed", pa.int64()),
    ]
)
LIKELIHOODS = pa.schema(
    [
        *LABELS,
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("tokens", pa.int32()),
        ("log_probability", pa.float64()),
        ("per_token", pa.list_(pa.float32())),
    ]
)
JUDGEMENTS = pa.schema(
    [
        *LABELS,
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("missing", pa.string()),
        ("spread", pa.float64()),
        ("judge", pa.string()),
        ("rubric", pa.string()),
        ("raw", pa.string()),
    ]
)
LOG = pa.schema(
    [
        *MODEL_LABELS[:2],
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),
        ("trained_tokens", pa.int32()),
    ]
)
LOSSES = pa.schema(
    [
        *MODEL_LABELS[:2],
        ("step", pa.int32()),
        ("example_id", pa.string()),
        ("split", pa.string()),
        ("loss", pa.float64()),
        ("tokens", pa.int32()),
    ]
)
MEASURED = pa.schema([*MODEL_LABELS[:2], ("step", pa.int32()), ("name", pa.string()), ("value", pa.float64())])
SUMMARIES = pa.schema(
    [
        ("question_id", pa.string()),
        ("metric", pa.string()),
        ("mean", pa.float64()),
        ("sd", pa.float64()),
        ("filtered_mean", pa.float64()),
        ("filtered_sd", pa.float64()),
    ]
)
REJECTED = pa.schema(
    [
        ("file", pa.string()),
        ("line", pa.int64()),
        ("why", pa.string()),
        ("text", pa.string()),
    ]
)
PROMPTS = pa.schema(
    [
        *MODEL_LABELS,
        ("row", pa.int32()),
        ("prompt_id", pa.string()),
        ("question", pa.string()),
        ("family", pa.string()),
        ("category", pa.string()),
        ("format", pa.string()),
        ("prompt", pa.string()),
        ("prompt_tokens", pa.int32()),
    ]
)
COMPLETIONS = pa.schema([*PROMPTS, ("sample", pa.int32()), ("completion_tokens", pa.int32())])


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema | None = None) -> pa.Table:
    """Rows as a table; NaN becomes null. Without a schema, columns are those of the first row."""
    rows = [{name: _null(value) for name, value in row.items()} for row in rows]
    return pa.Table.from_pylist(rows, schema=schema)


def write_table(
    content: pa.Table | Sequence[Mapping[str, Any]],
    path: Path,
    schema: pa.Schema | None = None,
    labels: Mapping[str, Any] | None = None,
) -> None:
    """Write parquet: the same rows always give the same bytes. `labels` stand in every row: model, data, questions."""
    content = content if isinstance(content, pa.Table) else table(content, schema)
    if schema is not None and labels:
        content = labelled(content, labels, schema)
    if schema is not None:
        content = content.select(schema.names).cast(schema)
    pq.write_table(content, path, compression="zstd", store_schema=False)


def labelled(content: pa.Table, labels: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """The table with its labels, which stand in every row, in the columns that the schema has for them."""
    for name, value in labels.items():
        column = pa.array([value] * len(content), schema.field(name).type)
        content = content.drop_columns(name) if name in content.column_names else content
        content = content.append_column(schema.field(name), column)
    return content


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read parquet that `write_table` wrote."""
    return pq.read_table(path, columns=list(columns) if columns else None)


def write_csv(content: pa.Table, path: Path) -> None:
    """Write CSV for people: null is empty; text cells that a spreadsheet would run as a formula get a leading quote."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(content.column_names)
        for batch in content.to_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                writer.writerow([_cell(value) for value in row])


def write_json(content: Any, path: Path) -> None:
    """Write JSON with sorted keys; NaN becomes null."""
    path.write_text(json.dumps(_plain(content), indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        value = value.replace("\x00", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")  # 3.11's csv quotes no \\r
        return "'" + value if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return repr(value) if isinstance(value, float) else value


def _null(value: Any) -> Any:
    value = value.item() if getattr(value, "ndim", None) == 0 else value  # numpy's own numbers
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
