"""What a file holds before anyone says what it means: records with their lines, and those that are none."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from spillover.row_files.decoding import LINE_END


class FileRecord(NamedTuple):
    """One record: where it begins (line from 1; in parquet and arrow its number), what it holds, its file if many."""

    line: int
    value: Any  # of CSV: texts by column; of JSON: whatever stands there
    file: str = ""


class UnreadableRecord(NamedTuple):
    """A record that cannot be read: where, why, and its text."""

    line: int
    reason: str
    text: str = ""
    file: str = ""


@dataclass(frozen=True)
class FileContents:
    """All records of one or several files, in order; what they lie in, and the encoding of the text (None: binary)."""

    container: str  # "JSON lines, gzip", for people
    encoding: str | None
    records: tuple[FileRecord | UnreadableRecord, ...]


def line_finder(text: str) -> Callable[[int], int]:
    """Which line, from 1, a position in the text stands in."""
    starts = [match.end() for match in LINE_END.finditer(text)]
    return lambda position: bisect_right(starts, position) + 1
