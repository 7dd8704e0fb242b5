"""Scores of a run's judged answers as arrays, read from its CSV a row at a time. Knows one file, no run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spillover.judgements.tables.judged_columns import Survey, judged_answers
from spillover.judgements.tables.row_reader import read_rows


@dataclass(frozen=True)
class Answers:
    """The scores in a file of judged answers, in its row order.

    question_id: (answers,). scores: by column, also codes such as the format; (answers,), NaN where there is none.
    counted: what came and what was rejected, and why.
    """

    question_id: np.ndarray
    scores: dict[str, np.ndarray]
    counted: Survey

    @property
    def prompting(self) -> str | None:
        """How all answers were prompted: chat, question-answer, raw; None where unknown or not all alike."""
        ways = set(self.counted.prompted)
        return ways.pop() if len(ways) == 1 and ways != {"unknown"} else None


def read_answers(path: Path) -> Answers:
    """The scores of every sound row; ValueError where the file as a whole cannot be read."""
    counted = Survey(path)
    known: dict[str, str] = {}  # each id once in memory
    ids: list[str] = []
    parts: dict[str, list[np.ndarray]] = {}
    for piece in judged_answers(read_rows(path), counted):
        ids += [known.setdefault(id, id) for id in piece.question_ids]
        for name, column in piece.scores.items():
            parts.setdefault(name, []).append(column.values)
    scores = {name: np.concatenate(parts[name]) for name in counted.columns}
    return Answers(np.array(ids, dtype=object), scores, counted)
