"""The rows of a CSV file one by one, the malformed ones apart and none lost with them. Knows no column.

A record that does not close its quotes, or has another number of cells than the header, is rejected by its first line,
and reading goes on at the next line: a stray quote costs its own row, not the rest of the file.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

MOST_LINES = 5000  # of one record: answers have newlines, but not as many
LONGEST = 10_000_000  # characters of a cell: a quote that does not close is not read to the end of the file
SHOWN = 2000  # characters kept of a rejected record
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8


class Row(NamedTuple):
    """A sound record: the line it starts on (from 1), its cells, and how much of the file is read (bytes, about)."""

    line: int
    cells: list[str]
    read: int


@dataclass(frozen=True)
class Rejected:
    """A record, or a whole file (line 0), that could not be read, and why."""

    file: str
    line: int
    why: str
    text: str = ""


def header_of(path: Path) -> list[str]:
    """The column names; ValueError where the file is no CSV with a header."""
    with _opened(path) as handle:
        return _header(path, handle)


def rows_of(path: Path, names: list[str]) -> Iterator[Row | Rejected]:
    """Every record after the header `names`, in order: sound, or rejected with the reason."""
    at = _Place()
    yield from _sound(path, len(names), at)
    if not at.ended:
        with _opened(path) as handle:
            lines = _Lines(handle, at)
            if not at.line:  # bytes that are no text stood near the header
                next(csv.reader(lines, strict=True))
                lines.take()
            yield from _records(path.name, lines, len(names))


@dataclass
class _Place:
    """How far a file was read without trouble: lines, bytes, and whether to its end."""

    line: int = 0
    read: int = 0
    ended: bool = False


def _sound(path: Path, width: int, at: _Place) -> Iterator[Row]:
    """The records up to the first that is malformed, as fast as Python reads CSV; `at` is where they end."""
    with _opened(path, errors="strict") as handle:
        reader = csv.reader(handle, strict=True)
        try:
            next(reader)
            at.line = reader.line_num
            for cells in reader:
                if len(cells) == width:
                    at.read = handle.buffer.tell()
                    yield Row(at.line + 1, cells, at.read)
                elif cells:
                    return
                at.line = reader.line_num
            at.ended = True
        except (csv.Error, UnicodeDecodeError):
            return


class _Lines:
    """Physical lines, those of the record that is being read kept; lines can be pushed back."""

    def __init__(self, handle: TextIO, at: _Place) -> None:
        self.handle = handle
        self.back: list[str] = []  # last one first
        self.record: list[str] = []
        self.number = sum(1 for _ in islice(handle, at.line))  # lines taken, those of `record` not yet counted
        self.read = at.read

    def __iter__(self) -> Iterator[str]:
        record, back, handle = self.record, self.back, self.handle
        while len(record) < MOST_LINES:
            line = back.pop() if back else handle.readline()
            if not line:
                return
            record.append(line)
            yield line

    def take(self) -> list[str]:
        """The lines of the record that was just read; the next one begins."""
        record = self.record.copy()
        self.record.clear()
        self.number += len(record)
        self.read += sum(map(len, record))
        return record

    def push(self, lines: list[str]) -> None:
        """Read these again."""
        self.back.extend(reversed(lines))
        self.number -= len(lines)
        self.read -= sum(map(len, lines))


def _records(file: str, lines: _Lines, width: int) -> Iterator[Row | Rejected]:
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
        if not more and not first.strip():
            continue
        why = why or _wrong(cells or [], width)
        if why is None:
            if held is not None:
                yield held
                held = None
            yield Row(lines.number - len(more), cells or [], lines.read)
            continue
        reader = csv.reader(lines, strict=True)
        lines.push(more)
        first = first.encode("utf-8", "replace").decode("utf-8")
        if held is not None:
            held = replace(held, text=(held.text + first)[:SHOWN])
        elif more:
            held = Rejected(file, lines.number, why, first[:SHOWN])
        else:
            yield Rejected(file, lines.number, why, first[:SHOWN])
    if held is not None:
        yield held


def _wrong(cells: list[str], width: int) -> str | None:
    if len(cells) != width:
        return f"{len(cells)} cells, the header names {width} columns"
    for cell in cells:
        if not cell.isascii() and _NOT_UTF8.search(cell):
            return "bytes that are not UTF-8 text"
    return None


def _in_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opens here and does not close"
    return f"not CSV ({error}): quotes in a cell have to be doubled"


def _header(path: Path, handle: TextIO) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader(handle, strict=True), [])]
    except csv.Error:
        names = []
    if not any(names) or any(_NOT_UTF8.search(name) for name in names):
        raise ValueError(f"{path}: the first line is no header of a CSV file, got {', '.join(names)[:80]!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the columns {', '.join(twice)} more than once: their cells cannot be told apart")
    return names


@contextlib.contextmanager
def _opened(path: Path, errors: str = "surrogateescape") -> Iterator[TextIO]:
    """The file as text; ValueError where it is empty, binary or cannot be opened."""
    csv.field_size_limit(LONGEST)
    try:
        with open(path, "rb") as binary:
            head = binary.read(8192)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    if not head.strip():
        raise ValueError(f"{path} is empty: a header line with column names is expected")
    if b"\0" in head:
        raise ValueError(f"{path} is a binary file, not CSV text in UTF-8")
    with open(path, encoding="utf-8-sig", errors=errors, newline="") as handle:
        yield handle
