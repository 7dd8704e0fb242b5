"""Rows into a new CSV, JSON lines or parquet file, some at a time and in order."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from spillover.judgements.tables.row_reader import FileCells, Layout, ending, guarded

Write = Callable[[Sequence[FileCells]], None]


@contextlib.contextmanager
def writing(path: Path, layout: Layout) -> Iterator[Write]:
    """A function that appends rows to a new file; it stands under its name only once all are written."""
    kind = ending(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with _parquet(part, layout) if kind == ".parquet" else _text(part, layout, kind) as write:
            yield write
        part.replace(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error})") from None
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _parquet(path: Path, layout: Layout) -> Iterator[Write]:
    schema = pa.schema(list(layout.columns.items()), metadata=layout.metadata)
    text = {name for name, type in layout.columns.items() if pa.types.is_string(type)}

    def write(rows: Sequence[FileCells]) -> None:
        cells = [{name: _as_text(cell) if name in text else cell for name, cell in row.items()} for row in rows]
        writer.write_table(pa.Table.from_pylist(cells, schema=schema))

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write


@contextlib.contextmanager
def _text(path: Path, layout: Layout, kind: str) -> Iterator[Write]:
    opened = gzip.open if kind.endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", errors="replace", newline="\n" if "json" in kind else "") as handle:
        if kind.startswith(".jsonl"):
            yield lambda rows: handle.writelines(_json_line(row) for row in rows)
        else:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(map(guarded, layout.columns))
            yield lambda rows: writer.writerows(
                [guarded(_as_text(row.get(name))) for name in layout.columns] for row in rows
            )


def _as_text(cell: object) -> str | None:
    """A cell as text: numbers as Python writes them, None for null, JSON for what is nested."""
    if cell is None or isinstance(cell, str):
        return cell if cell is None else cell.encode("utf-8", "replace").decode("utf-8")
    return repr(cell) if isinstance(cell, float) else json.dumps(cell, ensure_ascii=False, default=str)


def _json_line(row: FileCells) -> str:
    try:
        line = json.dumps(row, ensure_ascii=False, default=str)
        line.encode("utf-8")
    except UnicodeEncodeError:  # half a character pair: as an escape it is kept
        line = json.dumps(row, default=str)
    return line + "\n"
