"""The rows of a file, one by one: CSV and JSON lines (both also gzip), parquet. A malformed row costs itself alone.

A CSV record that does not close its quotes, or has another number of cells than the header, is rejected by its first
line, and reading goes on at the next line: a stray quote costs its own row, not the rest of the file.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from spillover.regular_files import expect_regular
from spillover.row_files.decoding import most_unpacked
from spillover.row_files.json_values import strict_value
from spillover.store import ProgressFn

ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")
BATCH = 2000  # rows of parquet held in memory at once, and rows between two words about progress
MOST_LINES = 5000  # of one record after a malformed one: answers have newlines, but not as many
LONGEST = 10_000_000  # characters of a cell: a quote that does not close is not read to the end of the file
SHOWN = 2000  # characters kept of a rejected record
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8


FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs begins with one of these
FileCells = dict[str, Any]  # of a row, by column: text in CSV, what JSON and parquet hold elsewhere, None for null


class Row(NamedTuple):
    """A sound record: the line on which it starts (of parquet: its number), from 1, and its cells by column."""

    line: int
    cells: FileCells


@dataclass(frozen=True)
class Rejected:
    """A record, or a whole file (line 0), that could not be read, and why."""

    file: str
    line: int
    why: str
    text: str = ""


def ending(path: Path) -> str:
    """Which of the known kinds a file is, by its name; ValueError for any other."""
    for known in ENDINGS:
        if path.name.lower().endswith(known):
            return known
    raise ValueError(f"{path}: the name tells how a file is read; it has to end in one of {', '.join(ENDINGS)}")


def read_rows(path: Path, progress: ProgressFn = lambda share: None) -> Iterator[Row | Rejected]:
    """Every record in order: sound, or rejected with the reason. ValueError where the file as a whole is unreadable.

    `progress` hears now and then which share of the file is read.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    with _explained(path):
        yield from readers[ending(path).removesuffix(".gz")](path, progress)


def sound_rows(path: Path) -> Iterator[FileCells]:
    """The cells of every record; ValueError with file and line at the first that is malformed."""
    for row in read_rows(path):
        if isinstance(row, Rejected):
            raise ValueError(f"{path}, line {row.line}: {row.why}")
        yield row.cells


def header_of(path: Path) -> list[str]:
    """The column names of a CSV file; ValueError where it is none with a header."""
    with _explained(path), _opened(path) as (text, _):
        return _header(path, text)


@dataclass(frozen=True)
class Layout:
    """What a file holds: its columns in order with their types, and how many rows."""

    columns: dict[str, pa.DataType]
    rows: int
    metadata: Mapping[bytes, bytes] | None = None  # parquet's own


def layout_of(path: Path) -> Layout:
    """Read a whole file once; ValueError with the line of the first row that is malformed."""
    if ending(path) == ".parquet":
        with _explained(path):
            file = pq.ParquetFile(path)
            schema = file.schema_arrow
            _distinct(path, schema.names)
            return Layout({column.name: column.type for column in schema}, file.metadata.num_rows, schema.metadata)
    kinds: dict[str, set[type]] = {}
    count = 0
    for cells in sound_rows(path):
        count += 1
        for name, value in cells.items():
            kinds.setdefault(name, set()).add(type(value))
    return Layout({name: _type(types) for name, types in kinds.items()}, count)


def _type(kinds: set[type]) -> pa.DataType:
    """The column type that holds every value of these Python types; text (JSON) where they are unlike."""
    kinds = kinds - {type(None)}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


# --- CSV


@dataclass
class _Position:
    """How far a file was read without trouble: lines, and whether to its end."""

    line: int = 0
    at_end: bool = False


def _csv_rows(path: Path, progress: ProgressFn) -> Iterator[Row | Rejected]:
    names = header_of(path)
    position = _Position()
    yield from _before_trouble(path, names, position, progress)
    if not position.at_end:
        with _opened(path) as (text, share):
            lines = _Lines(text)
            if position.line:
                done = sum(1 for _ in islice(text, position.line))
            else:  # bytes that are no text stood near the header
                next(csv.reader(lines, strict=True))
                done = len(lines.take())
            for number, row in enumerate(_records(path.name, lines, names, done)):
                if number % BATCH == 0:
                    progress(share())
                yield row
    progress(1.0)


def _before_trouble(path: Path, names: list[str], position: _Position, progress: ProgressFn) -> Iterator[Row]:
    """The records up to the first that is malformed, as fast as Python reads CSV; `position` is where they end."""
    width = len(names)
    with _opened(path, errors="strict") as (text, share):
        reader = csv.reader(_bounded_lines(text), strict=True)
        try:
            next(reader)
            position.line = reader.line_num
            for number, cells in enumerate(reader):
                if number % BATCH == 0:
                    progress(share())
                if len(cells) == width:
                    yield Row(position.line + 1, _cells(names, cells))
                elif cells:
                    return
                position.line = reader.line_num
            position.at_end = True
        except (csv.Error, UnicodeDecodeError):
            return


class _Lines:
    """Physical lines, those of the record that is being read remembered; lines can be read again."""

    def __init__(self, text: TextIO) -> None:
        self.text = text
        self.again: list[str] = []  # last one first
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        record, again, readline = self.record, self.again, self.text.readline
        while len(record) < MOST_LINES and (line := again.pop() if again else readline(LONGEST)):
            record.append(line)
            yield line

    def take(self) -> list[str]:
        """The lines of the record that was just read; the next one begins."""
        record = self.record.copy()
        self.record.clear()
        return record


def _records(file: str, lines: _Lines, names: list[str], done: int) -> Iterator[Row | Rejected]:
    """The records from line `done` + 1 on."""
    held: Rejected | None = None  # a rejected record whose further lines are not records of their own
    reader = csv.reader(lines, strict=True)
    while True:
        try:
            cells, why = next(reader, None), None
        except csv.Error as error:
            cells, why = [], _in_words(error)
        first, *more = lines.take() or [""]
        if cells is None and not first:
            break
        done += 1  # the line of `first`
        if not more and not first.strip():
            continue
        why = why or _wrong(cells or [], len(names))
        if why is None:
            if held is not None:
                yield held
                held = None
            yield Row(done, _cells(names, cells or []))
            done += len(more)
            continue
        reader = csv.reader(lines, strict=True)
        lines.again.extend(reversed(more))
        first = _shown(first)
        if held is not None:
            held = replace(held, text=(held.text + first)[:SHOWN])
        elif more:
            held = Rejected(file, done, why, first)
        else:
            yield Rejected(file, done, why, first)
    if held is not None:
        yield held


def _cells(names: list[str], cells: list[str]) -> FileCells:
    return {name: unguarded(cell) for name, cell in zip(names, cells, strict=True)}


def _wrong(cells: list[str], width: int) -> str | None:
    if len(cells) != width:
        return f"{len(cells)} cells, the header names {width} columns"
    return "bytes that are not UTF-8 text" if any(map(_not_utf8, cells)) else None


def _not_utf8(text: str) -> bool:
    return not text.isascii() and _NOT_UTF8.search(text) is not None


def _shown(text: str) -> str:
    """What is kept of a rejected record."""
    return text[:SHOWN].encode("utf-8", "replace").decode("utf-8")


def _in_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opens here and does not close"
    return f"not CSV ({error}): quotes in a cell have to be doubled"


def _header(path: Path, text: TextIO) -> list[str]:
    csv.field_size_limit(LONGEST)
    try:
        names = [unguarded(name.strip()) for name in next(csv.reader(_bounded_lines(text), strict=True), [])]
    except csv.Error:
        names = []
    if not any(names) or any("\0" in name or _not_utf8(name) for name in names):
        start = ", ".join(names) + text.read(8192)
        if not start.strip():
            raise ValueError(f"{path} has no rows: it is empty, and a header line with column names is expected")
        if "\0" in start:
            raise ValueError(f"{path} is a binary file, not CSV text in UTF-8")
        raise ValueError(f"{path}: the first line is no header of a CSV file, got {', '.join(names)[:80]!r}")
    _distinct(path, names)
    return names


def _distinct(path: Path, names: list[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)[:20]
    if twice:
        raise ValueError(f"{path} has the columns {', '.join(twice)} more than once: their cells cannot be told apart")


# --- JSON lines and parquet


def _json_rows(path: Path, progress: ProgressFn) -> Iterator[Row | Rejected]:
    with _opened(path) as (text, share):
        for number, line in enumerate(_bounded_lines(text), 1):
            if number % BATCH == 0:
                progress(share())
            if line.strip():
                row = _json_row(line)
                yield Row(number, row) if isinstance(row, dict) else Rejected(path.name, number, row, _shown(line))
    progress(1.0)


def _json_row(line: str) -> FileCells | str:
    """The object in a line, or why there is none."""
    if _not_utf8(line):
        return "bytes that are not UTF-8 text"
    try:
        row = strict_value(line)
    except ValueError as error:
        return f"not JSON ({error}); one object a line is expected"
    return row if isinstance(row, dict) else f"expected a JSON object, got {line.strip():.80}"


def _parquet_rows(path: Path, progress: ProgressFn) -> Iterator[Row]:
    file, number = pq.ParquetFile(path), 0
    _distinct(path, file.schema_arrow.names)
    for batch in file.iter_batches(batch_size=BATCH):
        for cells in batch.to_pylist():
            number += 1
            yield Row(number, cells)
        progress(number / max(1, file.metadata.num_rows))


# --- files


def guarded(cell: str | None) -> str | None:
    """A cell of CSV as it is written: what a spreadsheet would run as a formula gets a leading quote."""
    if not cell or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
        return cell
    except ValueError:
        return f"'{cell}"


def unguarded(cell: str) -> str:
    """The cell that `guarded` wrote, without its quote."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


@contextlib.contextmanager
def _opened(path: Path, errors: str = "surrogateescape") -> Iterator[tuple[TextIO, Callable[[], float]]]:
    """The file as text, and what tells which share of its bytes is read."""
    kind = ending(path)
    with open(expect_regular(path), "rb") as file:
        size = max(1, os.fstat(file.fileno()).st_size)
        content: BinaryIO = file
        if kind.endswith(".gz"):
            content = io.BufferedReader(_BoundedGzip(file, most_unpacked(size)))  # type: ignore[assignment,type-var]
        # JSON lines end at \n alone: \r can stand between tokens
        text = io.TextIOWrapper(content, "utf-8-sig", errors, newline="" if kind.startswith(".csv") else "\n")
        yield text, lambda: min(1.0, file.tell() / size)


class _BoundedGzip(io.RawIOBase):
    """What unpacks from a file, up to a bound; ValueError beyond it."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._unpacked, self._left, self._most = gzip.GzipFile(fileobj=file), most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        count = self._unpacked.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._most:,} bytes, which no file of rows does")
        return count


def _bounded_lines(text: TextIO) -> Iterator[str]:
    """Lines; ValueError at one that is longer than any record."""
    while line := text.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise ValueError(f"a line of more than {LONGEST:,} characters, which no record has")
        yield line


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of any trouble in reading which file it is."""
    try:
        yield
    except (pa.ArrowException, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as {ending(path)}: {str(error).splitlines()[0]:.200}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise error if str(path) in str(error) else ValueError(f"{path} cannot be read: {error}") from None
