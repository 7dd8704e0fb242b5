"""Replies on disk as they come, a line each: a kill costs none that was given, a torn last line is cut off."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

JournalEntry = TypeVar("JournalEntry")
JournalRow = dict[str, Any]  # what JSON holds under names
FORMAT = 1
CHECKSUM, NOTE = "crc", "note"


class Journal(ABC, Generic[JournalEntry]):
    """Entries by key in a file that is only appended to; in memory alone where there is no file.

    Its first line says what it is of. One process at a time writes it. A crash of the machine loses at most what came
    since the last `sync`; with `SYNC_EACH`, nothing. Every line has a checksum (`crc`, CRC-32 of the row): one that is
    not as it was written is passed over, named by its number, and kept in a file beside the journal (`.damaged`).
    """

    SYNC_EACH = False  # whether a line is on the disk when `add` returns

    def __init__(self) -> None:
        self.notes: dict[str, JournalRow] = {}  # what there is to know of all entries, by name; the last one counts
        self._entries: dict[str, int | JournalEntry] = {}  # a place in the file, or the entry itself
        self._file: int | None = None
        self._path: Path | None = None
        self._damaged: list[tuple[int, bytes]] = []  # lines that cannot be believed, with their numbers
        self._unsynced = False

    @abstractmethod
    def to_row(self, entry: JournalEntry) -> JournalRow:
        """The entry as JSON takes it."""

    @abstractmethod
    def from_row(self, row: JournalRow) -> JournalEntry:
        """The entry that a row holds; ValueError, KeyError or TypeError where it cannot be believed."""

    def count(self, row: JournalRow) -> None:
        """Hear of every row that is read or appended, also one that is no entry; raises as `from_row` does."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path | None, about: JournalRow, same: bool = False) -> Iterator[Self]:
        """The journal at `path`, to write; `about` is what its first line says, made where absent.

        same: a file whose first line says another thing is begun anew. Waits while another process writes it.
        """
        journal = cls()
        if path is None:
            yield journal
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                warnings.warn(f"another process writes {path}: waiting for it", stacklevel=3)
                fcntl.flock(file, fcntl.LOCK_EX)
            first = {"journal": FORMAT} | about
            whole = journal._read(path, first if same else None)
            journal._keep_damaged(path)
            os.ftruncate(file, whole)
            journal._file = file
            if not whole:
                journal.append(first)
            yield journal
            journal._unsynced = True
            journal.sync()
        finally:
            os.close(file)

    @classmethod
    def peek(cls, path: Path | None) -> Self:
        """What a journal holds now, to look at: nothing is made, nobody waits."""
        journal = cls()
        if path is not None and path.is_file():
            journal._read(path, None)
        return journal

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: str) -> JournalEntry:
        entry = self._entries[key]
        if not isinstance(entry, int):
            return entry
        assert self._file is not None
        with open(os.dup(self._file), "rb") as handle:
            handle.seek(entry)
            line = handle.readline()
        try:
            return self.from_row(_row(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{self._path}: the line of {key} is not as it was when this began: something else writes this file; "
                f"start again, and what it held is asked anew"
            ) from None

    def add(self, key: str, entry: JournalEntry) -> None:
        """Append an entry."""
        start = self.append({"key": key} | self.to_row(entry))
        self._entries[key] = entry if start is None else start

    def note(self, name: str, row: JournalRow) -> None:
        """Keep a note on all entries, in the place of the one that has this name."""
        self.append({NOTE: name, "row": row})
        self.notes[name] = row

    def sync(self) -> None:
        """Have the disk hold what was appended."""
        if self._unsynced and self._file is not None:
            self._unsynced = False
            os.fsync(self._file)

    def append(self, row: JournalRow) -> int | None:
        """Write a row as a line; its place in the file, None without one."""
        start = None
        if self._file is not None:
            line = (json.dumps(row | {CHECKSUM: _checksum(row)}) + "\n").encode()
            start = os.lseek(self._file, 0, os.SEEK_END)
            try:
                while line:
                    line = line[os.write(self._file, line) :]
            except OSError:  # no room: a half line would spoil the next
                os.ftruncate(self._file, start)
                raise
            self._unsynced = True
            if self.SYNC_EACH:
                self.sync()
        if "journal" not in row and NOTE not in row:
            self.count(row)
        return start

    def _read(self, path: Path, first: JournalRow | None) -> int:
        """Take in a file; the length of its whole lines, in bytes. Lines that cannot be read are passed over.

        first: what the first line has to be; 0 where it is another.
        """
        size = 0
        self._path = path
        with open(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = _row(line)
                    if "journal" not in row:
                        self._take(row, size)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    row = None
                    self._damaged.append((number, line))
                if size == 0 and first not in (None, row) and row is not None:
                    return 0
                size += len(line)
        if self._damaged:
            numbers = ", ".join(str(number) for number, _ in self._damaged[:10])
            warnings.warn(
                f"{path}: {len(self._damaged)} lines cannot be read or are not as they were written (line {numbers}"
                f"{', ...' if len(self._damaged) > 10 else ''}); what they held is asked again",
                stacklevel=3,
            )
        return size

    def _keep_damaged(self, path: Path) -> None:
        """Lines that cannot be believed, in a file beside the journal, for people: they may have been paid for."""
        if self._damaged:
            lines = b"".join(b"line %d: %s" % (number, line) for number, line in self._damaged)
            path.with_name(path.name + ".damaged").write_bytes(lines)

    def _take(self, row: JournalRow, start: int) -> None:
        if NOTE in row:
            self.notes[str(row[NOTE])] = dict(row["row"])
            return
        if "key" in row:
            self.from_row(row)
        self.count(row)
        if "key" in row:
            self._entries.setdefault(row["key"], start)


def _row(line: bytes) -> JournalRow:
    """What a line holds; ValueError where it is not as it was written. Lines of earlier versions have no checksum."""
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("not a row")
    checksum = row.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(row):
        raise ValueError("not as it was written")
    return row


def _checksum(row: JournalRow) -> str:
    return f"{zlib.crc32(json.dumps(row).encode()):08x}"
