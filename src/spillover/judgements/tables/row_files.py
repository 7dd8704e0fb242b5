"""Rows in and out of CSV, JSON lines and parquet, in pieces and in order. Knows no judge and no stage."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]
Write = Callable[[Sequence[Row]], None]
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
ROWS = 2000  # held in memory at once


@dataclass(frozen=True)
class Layout:
    """What a file holds: its columns in order with their types, and how many rows."""

    columns: dict[str, pa.DataType]
    rows: int
    metadata: Mapping[bytes, bytes] | None = None  # parquet's own


def ending(path: Path) -> str:
    """Which of the known kinds a file is, by its name; ValueError for any other."""
    found = next((known for known in ENDINGS if path.name.lower().endswith(known)), None)
    if found is None:
        raise ValueError(f"{path}: the name tells how a file is read; it has to end in one of {', '.join(ENDINGS)}")
    return found


def survey(path: Path) -> Layout:
    """Read a whole file once: every row is sound, or a ValueError says which is not."""
    if ending(path) == ".parquet":
        with _explained(path):
            file = pq.ParquetFile(path)
            schema = file.schema_arrow
            _distinct(path, schema.names)
            return Layout({field.name: field.type for field in schema}, file.metadata.num_rows, schema.metadata)
    columns: dict[str, set[str]] = {}
    count = 0
    for row in rows(path):
        count += 1
        for name, value in row.items():
            columns.setdefault(name, set()).add(type(value).__name__)
    return Layout({name: _type(kinds) for name, kinds in columns.items()}, count)


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in order; a ValueError names file and line of one that cannot be read."""
    kind = ending(path)
    with _explained(path):
        if kind == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(batch_size=ROWS):
                yield from batch.to_pylist()
        else:
            with _opened(path, "rt") as handle:
                yield from _csv_rows(path, handle) if kind.startswith(".csv") else _json_rows(path, handle)


def in_pieces(found: Iterator[Row]) -> Iterator[list[Row]]:
    """The same rows, `ROWS` at a time."""
    while piece := list(islice(found, ROWS)):
        yield piece


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

    def write(piece: Sequence[Row]) -> None:
        cells = [{name: _as_text(v) if name in text else v for name, v in row.items()} for row in piece]
        writer.write_table(pa.Table.from_pylist(cells, schema=schema))

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield write


@contextlib.contextmanager
def _text(path: Path, layout: Layout, kind: str) -> Iterator[Write]:
    with _opened(path, "wt", zipped=kind.endswith(".gz")) as handle:
        if kind.startswith(".jsonl"):
            yield lambda piece: handle.writelines(_json_line(row) for row in piece)
        else:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(layout.columns)
            yield lambda piece: writer.writerows([_as_text(row.get(name)) for name in layout.columns] for row in piece)


def _csv_rows(path: Path, handle: TextIO) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # answers can be longer than the module's usual 131,072 characters
    reader = csv.reader(handle, strict=True)
    try:
        names = next(reader, [])
        _distinct(path, names)
        for cells in reader:
            if len(cells) == len(names):
                yield dict(zip(names, cells, strict=True))
            elif cells:
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells, the header names {len(names)} columns"
                )
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error}); quotes in a cell are doubled") from None


def _json_rows(path: Path, handle: TextIO) -> Iterator[Row]:
    for number, line in enumerate(handle, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}); one object a line is expected") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON object, got {line.strip():.80}")
        yield row


def _opened(path: Path, mode: str, zipped: bool | None = None) -> TextIO:
    zipped = path.name.lower().endswith(".gz") if zipped is None else zipped
    encoding = "utf-8-sig" if mode == "rt" else "utf-8"
    newline = "" if ".csv" in path.name.lower() else "\n"  # JSON lines end at \n alone: \r can stand between tokens
    errors = "strict" if mode == "rt" else "replace"
    if zipped:
        return gzip.open(path, mode, encoding=encoding, errors=errors, newline=newline)  # type: ignore[return-value]
    return open(path, mode, encoding=encoding, errors=errors, newline=newline)  # type: ignore[return-value]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of any trouble in reading which file it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start} of a part read)") from None
    except (pa.ArrowException, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as {ending(path)}: {str(error).splitlines()[0]:.200}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None


def _distinct(path: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the columns {', '.join(twice)} more than once: their cells cannot be told apart")


def _type(kinds: set[str]) -> pa.DataType:
    """The column type that holds every value of these Python types; text (JSON) where they are unlike."""
    kinds = kinds - {"NoneType"}
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds == {"int"}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {"int", "float"} else pa.string()


def _as_text(value: Any) -> Any:
    """A cell as text: numbers as Python writes them, nothing for null, JSON for what is nested."""
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode("utf-8")
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)


def _json_line(row: Row) -> str:
    try:
        line = json.dumps(row, ensure_ascii=False, default=str)
        line.encode("utf-8")
    except UnicodeEncodeError:  # half a character pair: as an escape it is kept
        line = json.dumps(row, default=str)
    return line + "\n"
