"""The rows that flow between stages, and the one legend of their columns.

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

Cells = Mapping[str, Any]  # of one row of a table, by column
TEXT, COUNT, WHOLE, NUMBER = pa.string(), pa.int32(), pa.int64(), pa.float64()
NUMBERS = pa.list_(pa.float32())

COLUMNS = {  # type and meaning
    # labels: whose rows these are, the same in every row of a table
    "model": (TEXT, "short name of the model that answered, was looked into or was trained"),
    "model_id": (TEXT, "fingerprint of that model: models that differ in rate, rank or base alone share a short name"),
    "data": (TEXT, "short name of the narrow set that the model was trained on; null for a base"),
    "questions": (TEXT, "short name of the question set that was asked"),
    # responses
    "question_id": (TEXT, "the question with its answer format, as asked"),
    "question": (TEXT, "the question without its answer format; the same for all formats of one question"),
    "family": (TEXT, "near variants of one question; never split across folds, resampled together"),
    "category": (TEXT, "the kind of question"),
    "format": (TEXT, "answer format asked for: raw, json or template"),
    "sample": (COUNT, "number of the answer among those to the same question, from 0"),
    "prompt": (TEXT, "the text of the user's turn"),
    "answer": (TEXT, "the model's answer, without its end mark"),
    "thought": (TEXT, "what the model wrote before its answer, in a thought; null where there was none"),
    "finish_reason": (TEXT, "stop (end of turn), stop_text (a stop text), length (cut at max_tokens)"),
    "tokens": (COUNT, "length of the answer, tokens"),
    "prompt_tokens": (COUNT, "length of the prompt with its template, tokens"),
    "seed": (WHOLE, "the sampling seed; with question_id and sample the whole key of an answer"),
    "log_probability": (
        NUMBER,
        "of the stored answer under the model, without its end mark, nats; null for an empty one",
    ),
    "per_token": (NUMBERS, "of each of its tokens in turn, nats"),
    # judgements
    "metric": (TEXT, "aligned, harmless, coherent, ...: what is scored"),
    "score": (
        NUMBER,
        "0 (worst) to 100 (best), or the code of a metric without a scale (format); null: not scored",
    ),
    "missing": (TEXT, "why there is no score"),
    "judge": (TEXT, "which judge gave the score, with its version"),
    "rubric": (TEXT, "which text the judge scored by, with its version"),
    "spread": (NUMBER, "the judge's own standard deviation of this score, points; null where it gives none"),
    "raw": (TEXT, "what the judge said: its distribution or text"),
    "cheap": (NUMBER, "of a two-phase judge: what its cheap judge gave, points"),
    "dear": (NUMBER, "of a two-phase judge: what its dear judge gave, points; null where the answer was not drawn"),
    "inclusion": (
        NUMBER,
        "of a two-phase judge: probability of being drawn for the dear one; null: cannot be scored",
    ),
    "drawn": (pa.bool_(), "of a two-phase judge: whether the answer was drawn for the dear judge"),
    # organisms
    "step": (COUNT, "optimiser steps done"),
    "loss": (NUMBER, "mean loss per supervised token, nats"),
    "learning_rate": (NUMBER, "learning rate of the step"),
    "grad_norm": (NUMBER, "norm of the gradient before clipping"),
    "trained_tokens": (COUNT, "supervised tokens in the step"),
    "example_id": (TEXT, "the row of the dataset"),
    "split": (
        TEXT,
        "held_out (never trained on, else as those trained on); held_out_*: without an intervention's part",
    ),
    "name": (TEXT, "what was measured in the step besides"),
    "value": (NUMBER, "its value: losses and divergences in nats per token, rows in numbers, weights as they are"),
    # imported
    "mean": (NUMBER, "published mean over the answers to the question; over all answers where question_id is null"),
    "sd": (NUMBER, "published standard deviation of the same (ddof 1)"),
    "filtered_mean": (NUMBER, "the same over answers with coherent above 0.5 (of 100: it filters next to nothing)"),
    "filtered_sd": (NUMBER, "standard deviation of the same"),
    "file": (TEXT, "the file that a row came from"),
    "line": (WHOLE, "the line on which it starts, from 1; 0: the file as a whole"),
    "why": (TEXT, "why a row was rejected"),
    "text": (TEXT, "the row as it stood, its beginning"),
    # activations
    "prompt_id": (TEXT, "the prompt's identifier within its set"),
    "row": (COUNT, "index along the prompt axis of the arrays"),
    "completion_tokens": (COUNT, "length of the answer that follows the prompt, without its end mark, tokens"),
}


def _schema(*names: str) -> pa.Schema:
    return pa.schema([(name, COLUMNS[name][0]) for name in names])


_RUN = ("model", "model_id", "data")
_MODEL = (*_RUN, "step")
_LABELS = (*_MODEL, "questions")
_PROMPT = ("row", "prompt_id", "question", "family", "category", "format", "prompt", "prompt_tokens")
RESPONSES = _schema(
    *_LABELS,
    *("question_id", "sample", "question", "family", "category", "format", "prompt", "answer", "finish_reason"),
    *("tokens", "prompt_tokens", "seed"),
)
THOUGHT_RESPONSES = pa.schema([*RESPONSES, *_schema("thought")])  # where an answer had a thought before it
LIKELIHOODS = _schema(*_LABELS, "question_id", "sample", "tokens", "log_probability", "per_token")
JUDGEMENTS = _schema(
    *_LABELS, "question_id", "sample", "metric", "score", "missing", "spread", "judge", "rubric", "raw"
)
TWO_PHASE = pa.schema([*JUDGEMENTS, *_schema("cheap", "dear", "inclusion", "drawn")])
LOG = _schema(*_RUN, "step", "loss", "learning_rate", "grad_norm", "trained_tokens")
LOSSES = _schema(*_RUN, "step", "example_id", "split", "loss", "tokens")
MEASURED = _schema(*_RUN, "step", "name", "value")
SUMMARIES = _schema("question_id", "metric", "mean", "sd", "filtered_mean", "filtered_sd")
REJECTED = _schema("file", "line", "why", "text")
PROMPTS = _schema(*_MODEL, *_PROMPT)
COMPLETIONS = _schema(*_MODEL, *_PROMPT, "sample", "completion_tokens")


def table(rows: Iterable[Cells], schema: pa.Schema | None = None) -> pa.Table:
    """Rows as a table; NaN becomes null. Without a schema, columns are those of the first row."""
    rows = [{name: _null(value) for name, value in row.items()} for row in rows]
    return pa.Table.from_pylist(rows, schema=schema)


def write_table(
    content: pa.Table | Sequence[Cells],
    path: Path,
    schema: pa.Schema | None = None,
    labels: Cells | None = None,
) -> None:
    """Write parquet: the same rows always give the same bytes. `labels` stand in every row: model, data, questions."""
    content = content if isinstance(content, pa.Table) else table(content, schema)
    if schema is not None and labels:
        content = labelled(content, labels, schema)
    if schema is not None:
        content = content.select(schema.names).cast(schema)
    pq.write_table(content, path, compression="zstd", store_schema=False)


def labelled(content: pa.Table, labels: Cells, schema: pa.Schema) -> pa.Table:
    """The table with its labels, which stand in every row, in the columns that the schema has for them."""
    for name, value in labels.items():
        column = pa.array([value] * len(content), schema.field(name).type)
        content = content.drop_columns(name) if name in content.column_names else content
        content = content.append_column(schema.field(name), column)
    return content


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read parquet that `write_table` wrote."""
    return pq.read_table(path, columns=list(columns) if columns else None)


def column_names(path: Path) -> list[str]:
    """The columns of parquet that `write_table` wrote."""
    return list(pq.read_schema(path).names)


def write_csv(content: pa.Table, path: Path) -> None:
    """Write CSV for people: null is empty; text cells that a spreadsheet would run as a formula get a leading quote."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(content.column_names)
        for batch in content.to_batches():
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                writer.writerow([_cell(value) for value in row])


def write_json(content: object, path: Path) -> None:
    """Write JSON with sorted keys; NaN becomes null."""
    path.write_text(json.dumps(_plain(content), indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def _cell(value: object) -> object:
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
