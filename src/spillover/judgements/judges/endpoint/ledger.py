"""What a paid judge has said, on disk as it comes: one line an answer and metric, appended. Knows no judge, no network.

A kill loses nothing that was written; a crash of the machine loses at most what came since the last `sync`. One process
at a time writes a ledger. A last line that was torn is cut off when the ledger is opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.judgements.judge import Score

FORMAT = 1


@dataclass(frozen=True)
class Usage:
    """Tokens that a service counted (or that were estimated, where it counts none), and calls."""

    read: int = 0
    written: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.read + other.read, self.written + other.written, self.calls + other.calls)

    def times(self, number: int) -> Usage:
        """That of so many like it."""
        return Usage(self.read * number, self.written * number, self.calls * number)


@dataclass(frozen=True)
class Reply:
    """A judge's reply about one answer by one metric, and what it took to get it."""

    score: Score
    usage: Usage
    model: str  # which model the service says that it was


def key_of(judge: str, question: str, answer: str, metric: str) -> str:
    """32 hexadecimal digits that stand for one thing to be judged; `judge` is the judge's fingerprint."""
    return hashlib.sha256(json.dumps([judge, question, answer, metric]).encode()).hexdigest()[:32]


class Ledger:
    """Replies by key. Kept in memory alone where there is no file."""

    def __init__(self) -> None:
        self.spent = Usage()  # by everything in it, replies that could not be read too
        self._said: dict[str, int | Reply] = {}  # a place in the file, or the reply itself
        self._file: int | None = None
        self._unsynced = False

    def __contains__(self, key: object) -> bool:
        return key in self._said

    def __len__(self) -> int:
        return len(self._said)

    def __getitem__(self, key: str) -> Reply:
        found = self._said[key]
        if isinstance(found, Reply):
            return found
        assert self._file is not None
        with open(os.dup(self._file), "rb") as handle:
            handle.seek(found)
            return _said(json.loads(handle.readline()))

    def keep(self, key: str, said: Reply) -> None:
        """Append a reply."""
        score = said.score
        row = {"key": key, "metric": score.metric, "score": score.score, "missing": score.missing}
        row |= {"spread": score.spread, "raw": score.raw, "model": said.model} | _usage_row(said.usage)
        at = self._append(row)
        self._said[key] = said if at is None else at
        self.spent += said.usage

    def pay(self, usage: Usage) -> None:
        """Append what was paid for nothing: a reply that could not be read, a question to try the service."""
        self._append(_usage_row(usage))
        self.spent += usage

    def sync(self) -> None:
        """Have the disk hold what was appended."""
        if self._unsynced and self._file is not None:
            self._unsynced = False
            os.fsync(self._file)

    def _append(self, row: dict[str, Any]) -> int | None:
        """Write a line; its place in the file."""
        if self._file is None:
            return None
        line = (json.dumps(row) + "\n").encode()
        at = os.lseek(self._file, 0, os.SEEK_END)
        while line:
            line = line[os.write(self._file, line) :]
        self._unsynced = True
        return at

    def _read(self, path: Path) -> int:
        """Take in a file; the length of its whole lines, in bytes. Lines that cannot be read are passed over."""
        at, strange = 0, 0
        with open(path, "rb") as handle:
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    if "key" in row:
                        self.spent += _said(row).usage
                        self._said.setdefault(row["key"], at)
                    elif "ledger" not in row:
                        self.spent += _usage(row)
                except (ValueError, KeyError, TypeError):
                    strange += 1
                at += len(line)
        if strange:
            warnings.warn(f"{path}: {strange} lines cannot be read; what they held is asked again", stacklevel=2)
        return at


@contextlib.contextmanager
def opened(path: Path | None, about: dict[str, Any]) -> Iterator[Ledger]:
    """The ledger at `path`, to write; `about` says at its head whose it is. Without a path, one in memory."""
    ledger = Ledger()
    if path is None:
        yield ledger
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warnings.warn(f"another process judges with this judge; waiting for it ({path})", stacklevel=2)
            fcntl.flock(file, fcntl.LOCK_EX)
        whole = ledger._read(path)
        os.ftruncate(file, whole)
        ledger._file = file
        if not whole:
            ledger._append({"ledger": FORMAT} | about)
        yield ledger
        ledger._unsynced = True
        ledger.sync()
    finally:
        os.close(file)


def looked_at(path: Path | None) -> Ledger:
    """What a ledger holds now, to look at: nothing is made, nobody waits."""
    ledger = Ledger()
    if path is not None and path.is_file():
        ledger._read(path)
    return ledger


def _usage_row(usage: Usage) -> dict[str, int]:
    return {"read": usage.read, "written": usage.written, "calls": usage.calls}


def _usage(row: dict[str, Any]) -> Usage:
    return Usage(int(row["read"]), int(row["written"]), int(row["calls"]))


def _said(row: dict[str, Any]) -> Reply:
    score = Score(row["metric"], row["score"], row["missing"], row["spread"], row["raw"])
    return Reply(score, _usage(row), str(row["model"]))
