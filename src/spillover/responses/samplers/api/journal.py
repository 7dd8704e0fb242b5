"""Answers on disk as they come, one line each, so that a kill costs none that was given. Knows rows, no server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Key = tuple[str, int]  # question_id, sample


class AnswerJournal:
    """The answers of one artefact that is being made; one process at a time writes (it holds the artefact's lock).

    `about` says what they were asked of; where the file says another, it is begun anew. A last line that was torn is
    cut off.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.answers: dict[Key, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._read(path, about) if path.exists() else 0
        self._file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115 - closed with the context
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write({"about": about})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: Key, answer: dict[str, Any]) -> None:
        """One more, on the disk when this returns."""
        self.answers[key] = answer
        self._write({"key": list(key)} | answer)

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write((json.dumps(row) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path, about: dict[str, Any]) -> int:
        """Take in a file; the length of its whole lines, 0 where it is another's."""
        at = 0
        with open(path, "rb") as handle:
            for line in handle:
                try:
                    row = json.loads(line) if line.endswith(b"\n") else {}
                    if at == 0 and row.get("about") != about:
                        return 0
                    if at:
                        question, sample = row.pop("key")
                        self.answers[str(question), int(sample)] = row
                except (ValueError, KeyError, TypeError, AttributeError):
                    break
                at += len(line)
        return at
