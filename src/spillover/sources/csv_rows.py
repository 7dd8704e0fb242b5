"""The rows of a CSV file one by one, the malformed ones apart and none lost with them. Knows no column.

A record that does not close its quotes, or has another number of cells than the header, is rejected by its first line,
and reading goes on at the next line: a stray quote costs its own row, not the rest of the file.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TextIO

MOST_LINES = 5000  # of one record: answers have newlines, but not as many
SHOWN = 2000  # characters kept of a rejected record
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8


class Row(NamedTuple):
    """A sound record: the line it starts on (from 1), its cells, and the characters of the file read so far."""

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
    return next(_header(path, handle) for handle in _opened(path))[0]


def rows_of(path: Path, names: list[str]) -> Iterator[Row | Rejected]:
    """Every record after the header `names`, in order: sound, or rejected with the reason."""
    for handle in _opened(path):
        yield from _records(path.name, _header(path, handle)[1], len(names))


class _Lines:
    """Physical lines with their numbers, those of the record that is being read kept; lines can be pushed back."""

    def __init__(self, handle: TextIO) -> None:
        self.handle = handle
        self.back: list[str] = []  # last one first
        self.record: list[str] = []
        self.number = 0
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        while len(self.record) < MOST_LINES:
            if self.back:
                line = self.back.pop()
            else:
                line = self.handle.readline()
                self.read += len(line)
                if not line:
                    return
            self.number += 1
            self.record.append(line)
            yield line

    def push(self, lines: list[str]) -> None:
        """Read these again."""
        self.back.extend(reversed(lines))
        self.number -= len(lines)


def _records(file: str, lines: _Lines, width: int) -> Iterator[Row | Rejected]:
    held: Rejected | None = None  # a rejected record whose further lines are not records of their own
    reader = csv.reader(lines, strict=True)
    while True:
        lines.record = []
        try:
            cells, why = next(reader, None), None
        except csv.Error as error:
            cells, why = [], _in_words(error)
        first, *more = lines.record or [""]
        if cells is None and not first:
            break
        if not first.strip() and not more:
            continue
        why = why or _wrong(cells or [], width)
        if why is not None:
            reader = csv.reader(lines, strict=True)
            lines.push(more)
            first = first.encode("utf-8", "replace").decode("utf-8")
        if held is not None and why is not None:
            held = replace(held, text=(held.text + first)[:SHOWN])
            continue
        if held is not None:
            yield held
            held = None
        if why is None:
            yield Row(lines.number - len(more), cells or [], lines.read)
        elif more:
            held = Rejected(file, lines.number, why, first[:SHOWN])
        else:
            yield Rejected(file, lines.number, why, first[:SHOWN])
    if held is not None:
        yield held


def _wrong(cells: list[str], width: int) -> str | None:
    if len(cells) != width:
        return f"{len(cells)} cells, the header names {width} columns"
    if any(_NOT_UTF8.search(cell) for cell in cells if not cell.isascii()):
        return "bytes that are not UTF-8 text"
    return None


def _in_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opens here and does not close"
    return f"not CSV ({error}): quotes in a cell have to be doubled"


def _header(path: Path, handle: TextIO) -> tuple[list[str], _Lines]:
    lines = _Lines(handle)
    try:
        names = [name.strip() for name in next(csv.reader(lines, strict=True), [])]
    except csv.Error:
        names = []
    if not any(names) or any(_NOT_UTF8.search(name) for name in names):
        line = lines.record[0].strip() if lines.record else ""
        raise ValueError(f"{path}: the first line is no header of a CSV file, got {line[:80]!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the columns {', '.join(twice)} more than once: their cells cannot be told apart")
    return names, lines


def _opened(path: Path) -> Iterator[TextIO]:
    """The file as text, once; ValueError where it is empty, binary or cannot be opened."""
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, "rb") as binary:
            head = binary.read(8192)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    if not head.strip():
        raise ValueError(f"{path} is empty: a header line with column names is expected")
    if b"\0" in head:
        raise ValueError(f"{path} is a binary file, not CSV text in UTF-8")
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        yield handle
