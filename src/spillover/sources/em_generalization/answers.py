"""Scores of a run's judged answers as arrays, read from its CSV a row at a time. Knows one file, no run."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spillover.sources.judged_csv import Survey, judged_rows


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
    counted = Survey(path.name)
    ids: list[str] = []
    known: dict[str, str] = {}
    scores: dict[str, array[float]] = {}
    for row in judged_rows(path, counted):
        ids.append(known.setdefault(row.question_id, row.question_id))
        for name, cell in row.scores.items():
            scores.setdefault(name, array("d")).append(float("nan") if cell.score is None else cell.score)
    kept = {name: np.frombuffer(scores[name]) for name in counted.columns}
    return Answers(np.array(ids, dtype=object), kept, counted)
