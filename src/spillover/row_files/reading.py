"""The one door to rows in files: packing, encoding and container go by the bytes, and by the name where unsure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spillover.row_files.binary_tables import table_kind, table_records
from spillover.row_files.csv_text import csv_records
from spillover.row_files.decoding import decoded, unpacked
from spillover.row_files.json_text import json_records
from spillover.row_files.records import FileContents

JSON_NAMES, CSV_NAMES = (".jsonl", ".json", ".ndjson"), (".csv", ".tsv", ".tab")


def read_contents(paths: Sequence[Path]) -> FileContents:
    """All records of the files, one after another; ValueError where a file as a whole cannot be read."""
    parts = [_read(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    names = list(dict.fromkeys(part.container for part in parts))
    encodings = list(dict.fromkeys(part.encoding for part in parts if part.encoding))
    records = tuple(
        record._replace(file=path.name) for path, part in zip(paths, parts, strict=True) for record in part.records
    )
    container = f"{len(parts)} files of {' and '.join(names)}"
    return FileContents(container, " and ".join(encodings) or None, records)


def _read(path: Path) -> FileContents:
    raw = unpacked(path)
    packing = f", {raw.packing}" if raw.packing else ""
    try:
        if table_kind(raw.data):
            kind, records = table_records(raw.data)
            return FileContents(kind + packing, None, tuple(records))
        text, encoding = decoded(raw.data)
        kind, records = csv_records(text) if _is_csv(path, text) else json_records(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return FileContents(kind + packing, encoding, tuple(records))


def _is_csv(path: Path, text: str) -> bool:
    """Whether text is CSV and not JSON: what begins like JSON is, else the name decides, else it is CSV."""
    name = path.name.lower()
    if any(ending in name for ending in CSV_NAMES):
        return not text.lstrip().startswith("{")
    return not text.lstrip(" \t\r\n\ufeff").startswith(("{", "[")) and not any(known in name for known in JSON_NAMES)
