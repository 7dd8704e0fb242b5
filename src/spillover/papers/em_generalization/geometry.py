"""The release's geometry JSON: activation shifts prompt by prompt, and their summaries. Knows one file, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.judgements.tables.imported_scores import SourceFile
from spillover.papers.em_generalization.place import GeometryName
from spillover.papers.em_generalization.summaries import read_object
from spillover.records import write_json, write_table
from spillover.store import Artefact, BuildContext

SUMMARIES = ("pca_summary", "prompt_pca_summary", "mean_delta_summary")
SET_OF = ("hbp", "fpq", "general", "preregistered")  # how ids of evaluation prompts begin: hbp.QUESTION


@dataclass(frozen=True)
class Geometry:
    """One file as it stands. rows: a mapping for each evaluation prompt. summaries: by the file's own names."""

    rows: tuple[Mapping[str, Any], ...]
    summaries: Mapping[str, Mapping[str, Any]]
    others: Mapping[str, Any]  # num_train, num_eval, ...


class PublishedGeometry(Artefact):
    """Published activation shifts of evaluation prompts against those of the training prompts."""

    name: GeometryName
    file: SourceFile

    def summary(self) -> str:
        return f"Published geometry of {self.name.label()}"

    def make(self, context: BuildContext) -> dict[str, Any]:
        found = read_geometry(self.file.checked())
        rows = [_flat(row) for row in found.rows]
        write_table(as_table(rows), context.folder / "geometry.parquet")
        write_json({**found.others, **found.summaries}, context.folder / "summaries.json")
        return {"prompts": len(rows), "columns": len(rows[0]) if rows else 0}


def read_geometry(path: Path) -> Geometry:
    """The content of a file; ValueError where it is cut off or has no rows by prompt."""
    data = read_object(path)
    rows = data.get("per_example")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"{path} has no rows by prompt under per_example; it has {', '.join(list(data)[:8]) or 'nothing'}"
        )
    lacking = [name for name in SUMMARIES if not isinstance(data.get(name), dict | None)]
    if lacking:
        raise ValueError(f"{path}: expected an object under {lacking[0]}, got {type(data[lacking[0]]).__name__}")
    if any(not isinstance(row.get("question_id"), str) for row in rows):
        raise ValueError(f"{path}: a row under per_example has no question_id")
    summaries = {name: data[name] for name in SUMMARIES if data.get(name)}
    others = {name: value for name, value in data.items() if name not in (*SUMMARIES, "per_example")}
    return Geometry(tuple(rows), summaries, others)


def question_of(id: str) -> str:
    """The question id without the set that the release puts before it (`hbp.fraud_001`)."""
    head, dot, rest = id.partition(".")
    return rest if dot and head in SET_OF else id


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows that may lack a column as a table; a column is of numbers where all its cells are."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if kinds <= {int, float}:
            columns[name] = pa.array(values, pa.int64() if kinds == {int} else pa.float64(), from_pandas=True)
        else:
            columns[name] = pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.table(columns)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's single values, with the question's own id; lists and paths on the makers' machines are left out."""
    kept = {name: value for name, value in row.items() if isinstance(value, str | int | float) and "path" not in name}
    return {"question_id": question_of(row["question_id"]), "prompt_id": row["question_id"]} | {
        name: value for name, value in kept.items() if name != "question_id" and "filename" not in name
    }
