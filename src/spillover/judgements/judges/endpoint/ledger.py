"""What a paid judge has said, on disk as it comes: a line an answer and metric; one more for what was paid in vain."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from spillover.api_client.journal import Journal, JournalRow
from spillover.judgements.judge import Score


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


def ledger_key(judge: str, question: str, answer: str, metric: str) -> str:
    """32 hexadecimal digits that stand for one thing to be judged; `judge` is the judge's fingerprint."""
    return hashlib.sha256(json.dumps([judge, question, answer, metric]).encode()).hexdigest()[:32]


class Ledger(Journal[Reply]):
    """A judge's replies by key, and what all of them took."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = Usage()  # by everything in it, replies that could not be read too

    def to_row(self, entry: Reply) -> JournalRow:
        return asdict(entry.score) | asdict(entry.usage) | {"model": entry.model}

    def from_row(self, row: JournalRow) -> Reply:
        score = Score(row["metric"], row["score"], row["missing"], row["spread"], row["raw"])
        return Reply(score, _usage(row), str(row["model"]))

    def count(self, row: JournalRow) -> None:
        self.spent += _usage(row)

    def pay(self, usage: Usage) -> None:
        """Append what was paid for nothing: a reply that could not be read, a question to try the service."""
        self.append(asdict(usage))


def _usage(row: JournalRow) -> Usage:
    return Usage(int(row["read"]), int(row["written"]), int(row["calls"]))
