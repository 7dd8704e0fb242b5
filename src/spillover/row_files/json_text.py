"""Records of JSON text: lines, values over several lines each, or one array, pretty-printed or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from spillover.row_files.decoding import LINE_END, not_text
from spillover.row_files.json_values import DECODER, LONGEST, in_words, strict_value
from spillover.row_files.records import FileRecord, UnreadableRecord, line_finder

_BLANK = re.compile("[ \t\r\n\ufeff]*")  # files that were joined have a BOM in their middle
_BETWEEN = re.compile("[ \t\r\n]*([,\\]])?[ \t\r\n]*")
LIST_NAMES = ("data", "rows", "train", "examples", "instances", "items", "records", "samples")  # of rows in an object


def json_records(text: str) -> tuple[str, list[FileRecord | UnreadableRecord]]:
    """How the records lie, and all of them; ValueError where an array breaks off, for what follows cannot be told."""
    start = _after_blank(text, 0)
    if text.startswith("[", start) and not _is_lines_of_arrays(text, start):
        return "JSON array", _as_one_conversation(list(_of_array(text, start)))
    records = list(_of_lines(text))
    rows = _inside_an_object(records)
    return ("JSON lines", records) if rows is None else ("JSON object", rows)


def _of_lines(text: str) -> Iterator[FileRecord | UnreadableRecord]:
    """A record a line; one that goes on over several lines is taken whole, a line that is none costs itself alone."""
    position, number = 0, 0
    while position < len(text):
        end = LINE_END.search(text, position)
        stop, following = (end.start(), end.end()) if end else (len(text), len(text))
        line = text[position:stop].strip(" \t\ufeff")
        number += 1
        if line:
            value, why = _value(line)
            if why and line[0] in "{[" and (whole := _over_lines(text, position)) is not None:
                value, why, following = whole[0], "", whole[1]
                yield FileRecord(number, value)
                number += len(LINE_END.findall(text, position, following)) - 1
            else:
                yield UnreadableRecord(number, why, line) if why else FileRecord(number, value)
        position = following


def _over_lines(text: str, position: int) -> tuple[object, int] | None:
    """A value that begins in this line and ends in a later one, and where the line after it begins."""
    try:
        value, end = DECODER.raw_decode(text, _after_blank(text, position))
    except (ValueError, RecursionError):
        return None
    line_end = LINE_END.search(text, end)
    stop, following = (line_end.start(), line_end.end()) if line_end else (len(text), len(text))
    if end - position > LONGEST or text[end:stop].strip(" \t") or not_text(text[position:end]):
        return None
    return value, following


def _of_array(text: str, start: int) -> Iterator[FileRecord]:
    line_of = line_finder(text)
    position = _after_blank(text, start + 1)
    if text.startswith("]", position):
        return
    while True:
        try:
            value, end = DECODER.raw_decode(text, position)
            between = _BETWEEN.match(text, end)
            if between is None or between[1] is None:
                raise json.JSONDecodeError("Expecting ',' or ']'", text, end)
        except RecursionError:
            raise ValueError(f"line {line_of(position)}: nested too deeply") from None
        except json.JSONDecodeError as error:
            raise ValueError(
                f"line {line_of(error.pos)}: the JSON array breaks off here ({error.msg}); what follows cannot be told "
                f"apart"
            ) from None
        except ValueError as error:
            raise ValueError(f"line {line_of(position)}: {in_words(error)}") from None
        yield FileRecord(line_of(position), value)
        position = between.end()
        if between[1] == "]":
            break
    if text[position:].strip(" \t\r\n\ufeff"):
        raise ValueError(f"line {line_of(position)}: expected nothing after the JSON array")


def _is_lines_of_arrays(text: str, start: int) -> bool:
    """Whether the first line is an array by itself and more follows."""
    end = LINE_END.search(text, start)
    if end is None or _after_blank(text, end.end()) == len(text):
        return False
    value, why = _value(text[start : end.start()])
    return not why and isinstance(value, list)


def _value(line: str) -> tuple[object, str]:
    """What a line holds, or why it holds nothing."""
    if why := not_text(line):
        return None, why
    try:
        return strict_value(line), ""
    except ValueError as error:
        why = str(error)
    return None, f"expected a JSON object, got {line[:60]!r} ({why})"


def _as_one_conversation(records: list[FileRecord]) -> list[FileRecord | UnreadableRecord]:
    """An array of turns is one row, not a row for each turn."""
    turns = [record.value for record in records]
    if turns and all(isinstance(turn, dict) and {"role", "from"} & set(turn) for turn in turns):
        return [FileRecord(records[0].line, turns)]
    return [*records]


def _inside_an_object(records: list[FileRecord | UnreadableRecord]) -> list[FileRecord | UnreadableRecord] | None:
    """The rows, by number, of a file that is one object with a list of them, or a column under each key; else None."""
    if len(records) != 1 or not isinstance(records[0], FileRecord) or not isinstance(records[0].value, dict):
        return None
    whole = records[0].value
    names = [name for name, value in whole.items() if isinstance(value, list) and value and _are_rows(value)]
    if len(names) == 1 and (len(whole) == 1 or names[0] in LIST_NAMES):
        rows = whole[names[0]]
        if all(isinstance(row.get("row"), dict) for row in rows):  # as the hub's viewer gives them
            rows = [row["row"] for row in rows]
        return [FileRecord(number, row) for number, row in enumerate(rows, start=1)]
    texts = next(iter(whole.values())) if len(whole) == 1 else None
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return [FileRecord(number, text) for number, text in enumerate(texts, start=1)]
    columns = list(whole.values())
    if len(columns) > 1 and all(isinstance(column, dict) and column for column in columns):  # as pandas writes
        keys = list(columns[0])
        if all(list(column) == keys for column in columns):
            rows = [{name: whole[name][key] for name in whole} for key in keys]
            return [FileRecord(number, row) for number, row in enumerate(rows, start=1)]
    return None


def _are_rows(values: list[object]) -> bool:
    return all(isinstance(value, dict) and not {"role", "from"} & set(value) for value in values)


def _after_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position
