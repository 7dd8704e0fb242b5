"""Records of CSV text: comma, semicolon, tab or bar between cells, as the header has it. A bad record costs itself."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from spillover.row_files.decoding import not_text
from spillover.row_files.records import FileRecord, UnreadableRecord

DELIMITERS = (",", ";", "\t", "|")
SHOWN = 20  # columns that a message names
LONGEST = 10_000_000  # characters of a cell
_SAID_DELIMITER = re.compile(r'"?sep=(.)"?\s*')  # the first line that some spreadsheets write


def csv_records(text: str) -> tuple[str, list[FileRecord | UnreadableRecord]]:
    """How the records lie, and all of them; ValueError where the first line is no header."""
    csv.field_size_limit(LONGEST)
    lines = list(io.StringIO(text, newline=""))  # \r\n, \r and \n end lines, and stay at their ends
    first = 0
    delimiter = None
    while first < len(lines) and (not lines[first].strip() or _SAID_DELIMITER.fullmatch(lines[first])):
        match = _SAID_DELIMITER.fullmatch(lines[first])
        delimiter = match[1] if match else delimiter
        first += 1
    if first == len(lines):
        return "CSV", []
    delimiter = delimiter or max(DELIMITERS, key=lambda mark: len(_header(lines, first, mark)[0]))
    names, used = _header(lines, first, delimiter)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)[:SHOWN]
    if twice:
        raise ValueError(f"the columns {', '.join(twice)} come more than once: their cells cannot be told apart")
    if not any(names) or any(not_text(name) or "\0" in name for name in names):
        raise ValueError(f"the first line is no header of a CSV file, got {lines[first].strip()[:60]!r}")
    kind = {",": "CSV", "\t": "TSV"}.get(delimiter, f"CSV with {delimiter}")
    return kind, list(_records(lines, first + used, names, delimiter))


def _header(lines: list[str], first: int, delimiter: str) -> tuple[list[str], int]:
    """The column names, and how many lines they take."""
    reader = csv.reader((lines[number] for number in range(first, len(lines))), delimiter=delimiter, strict=True)
    try:
        return [name.strip() for name in next(reader, [])], reader.line_num
    except csv.Error:
        return [], 1


def _records(lines: list[str], start: int, names: list[str], delimiter: str) -> Iterator[FileRecord | UnreadableRecord]:
    """Every record; after one that is malformed reading goes on at the next line."""
    while start < len(lines):
        reader = csv.reader(_from(lines, start), delimiter=delimiter, strict=True)
        read = 0
        try:
            for cells in reader:
                line, many = start + read + 1, reader.line_num - read > 1
                read = reader.line_num
                if len(cells) == len(names):
                    why = next(filter(None, map(not_text, cells)), None)
                    text = delimiter.join(cells)
                    row = FileRecord(line, dict(zip(names, cells, strict=True)))
                    yield UnreadableRecord(line, why, text) if why else row
                elif cells:
                    why = f"{len(cells)} cells, the header names {len(names)} columns"
                    yield UnreadableRecord(line, why, lines[line - 1])
                    if many:  # perhaps a stray quote: the lines after the first may be records of their own
                        read = line - start
                        break
            else:
                return
        except csv.Error as error:
            ends = "unexpected end" in str(error)
            why = "a quote opens here and does not close" if ends else f"not CSV ({error}): double quotes in a cell"
            yield UnreadableRecord(start + read + 1, why, lines[start + read])
            read += 1
        start += read


def _from(lines: list[str], start: int) -> Iterator[str]:
    return (lines[number] for number in range(start, len(lines)))
