"""The rows of a CSV file one by one, the malformed ones apart and none lost with them. Knows no column.

A record is closed when its quotes are. One that does not close, or has another number of cells than the header, is
rejected by its first line, and reading goes on at the next line: a stray quote costs its own row, not the rest.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

MOST_LINES = 5000  # of one record: answers have newlines, but not as many
SHOWN = 2000  # characters kept of a rejected record
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8


@dataclass(frozen=True)
class Row:
    """A sound record: the line it starts on (from 1), its cells, and the bytes of the file read so far (about)."""

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
    """Physical lines with their numbers; lines can be pushed back."""

    def __init__(self, handle: TextIO) -> None:
        self.handle = handle
        self.back: list[str] = []  # last one first
        self.number = 0
        self.read = 0

    def next(self) -> str | None:
        if self.back:
            line = self.back.pop()
        else:
            line = self.handle.readline()
            self.read += len(line)
        if not line:
            return None
        self.number += 1
        return line

    def push(self, lines: list[str]) -> None:
        self.back.extend(reversed(lines))
        self.number -= len(lines)


def _records(file: str, lines: _Lines, width: int) -> Iterator[Row | Rejected]:
    held: Rejected | None = None  # a rejected record whose further lines are not records of their own
    while (first := lines.next()) is not None:
        number = lines.number
        if not first.strip():
            continue
        more = _rest(first, lines)
        cells = None if more is None else _cells(first + "".join(more))
        why = _wrong(cells, more, width)
        alone = _cells(first, strict=False) if why and more != [] else None
        if alone is not None and len(alone) == width:  # a quote that stands for itself, as for inches
            lines.push(more or [])
            cells, why = alone, None
        if why is None and cells is not None:
            if held is not None:
                yield held
                held = None
            yield Row(number, cells, lines.read)
            continue
        lines.push(more or [])
        if held is not None:
            held = replace(held, text=(held.text + first)[:SHOWN])
        elif more == []:
            yield Rejected(file, number, why or "not CSV", first.rstrip("\r\n")[:SHOWN])
        else:
            held = Rejected(file, number, why or "not CSV", first[:SHOWN])
    if held is not None:
        yield held


def _rest(first: str, lines: _Lines) -> list[str] | None:
    """The lines that belong to a record after its first; None, with nothing read, where its quotes do not close."""
    more: list[str] = []
    odd = first.count('"') % 2
    while odd and len(more) < MOST_LINES:
        line = lines.next()
        if line is None:
            break
        more.append(line)
        odd ^= line.count('"') % 2
    if odd:
        lines.push(more)
        return None
    return more


def _wrong(cells: list[str] | None, more: list[str] | None, width: int) -> str | None:
    if more is None:
        return "a quote opens here and does not close"
    if cells is None:
        return "not CSV: quotes in a cell have to be doubled"
    if len(cells) != width:
        return f"{len(cells)} cells, the header names {width} columns"
    if any(_NOT_UTF8.search(cell) for cell in cells if not cell.isascii()):
        return "bytes that are not UTF-8 text"
    return None


def _cells(record: str, strict: bool = True) -> list[str] | None:
    try:
        return next(csv.reader([record], strict=strict), [])
    except csv.Error:
        return None


def _header(path: Path, handle: TextIO) -> tuple[list[str], _Lines]:
    lines = _Lines(handle)
    first = lines.next()
    more = None if first is None else _rest(first, lines)
    names = None if more is None or first is None else _cells(first + "".join(more))
    if not names or not any(name.strip() for name in names):
        raise ValueError(f"{path}: the first line is no header of a CSV file, got {(first or '').strip()[:80]!r}")
    names = [name.strip() for name in names]
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
