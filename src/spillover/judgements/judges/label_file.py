"""Scores that stand in a file already, people's labels mostly: looked up by question and answer, never guessed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from spillover.judgements.human_labels import NOT_LABELLED
from spillover.judgements.judge import METRICS, Answer, Judge, Score, unscored
from spillover.judgements.tables.judged_columns import OUR_OWN
from spillover.judgements.tables.row_reader import layout_of, sound_rows
from spillover.manifest import remembered_sha256
from spillover.regular_files import absolute
from spillover.spec import location_field
from spillover.store import ProgressFn

LABELLED = (*METRICS, "refusal")  # columns that can hold scores
AnswerText = tuple[str, str]  # question and answer, without white space around them


class LabelFile(Judge):
    """Scores that people, or another judge, gave to answers, in a table with columns question and answer."""

    sha256: str
    scored: tuple[str, ...] = Field(min_length=1)  # metrics that it has columns for
    path: str = location_field()

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The file at `path` as it is now; ValueError where it lacks question, answer, or any column of scores."""
        file = absolute(path)
        if not file.is_file():
            raise ValueError(f"no file {path}: labels are read from a table with columns question, answer and aligned")
        columns = layout_of(file).columns
        metrics = tuple(name for name in LABELLED if name in columns)
        if lacking := [name for name in OUR_OWN if name not in columns] or ([] if metrics else [" or ".join(LABELLED)]):
            raise ValueError(f"{path} has no column {' and '.join(lacking)}; it has {', '.join(columns)}")
        labels = cls(sha256=remembered_sha256(file), scored=metrics, path=str(file))
        labels.labels()
        return labels

    @classmethod
    def typed(cls, text: str) -> Self:
        return cls.from_file(text)

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the file has columns for."""
        return self.scored

    @property
    def name(self) -> str:
        return f"labels/{self.version}.{self.sha256[:8]}"

    @property
    def rubric(self) -> str:
        return "as labelled"

    def summary(self) -> str:
        return f"Scores that stand in {Path(self.path).name}, looked up by question and answer."

    def card(self) -> str:
        return (
            "The scores stand in a file that was given: what they are worth is known to who made it. Answers that are "
            "not in it have none. As the dear one of two judges, the file has to hold the answers that are drawn, or a "
            "random part of them: labels of answers that somebody chose speak of those answers alone."
        )

    def labels(self) -> dict[AnswerText, dict[str, float]]:
        """The scores of each answer, where an answer stands several times their mean; ValueError for no score."""
        file = Path(self.path)
        if not file.is_file() or remembered_sha256(file) != self.sha256:
            raise ValueError(f"{self.path} is not there any more, or not what it was: name it anew")
        given: dict[AnswerText, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for number, row in enumerate(sound_rows(file), start=1):
            for metric in self.scored:
                if (score := _score(row.get(metric), f"{file.name}, row {number}, {metric}")) is not None:
                    given[_key(row.get("question"), row.get("answer"))][metric].append(score)
        return {key: {name: float(np.mean(scores)) for name, scores in of.items()} for key, of in given.items()}

    def score(self, answers: Sequence[Answer], progress: ProgressFn = lambda share: None) -> list[list[Score]]:
        labels = self.labels() if answers else {}
        scores = []
        for answer in answers:
            given = labels.get(_key(answer.question, answer.answer), {})
            reason = unscored(answer.answer) or NOT_LABELLED
            scores.append(
                [
                    Score(metric, given[metric]) if metric in given else Score(metric, None, reason)
                    for metric in self.scored
                ]
            )
        progress(1.0)
        return scores


def _key(question: object, answer: object) -> AnswerText:
    return str(question or "").strip(), "\n".join(str(answer or "").split("\r\n")).strip()


def _score(cell: object, where: str) -> float | None:
    """A score from a cell; None for an empty one; a ValueError that says where for what is none."""
    if cell is None or not str(cell).strip() or cell != cell:
        return None
    try:
        score = float(str(cell))
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 100:
        raise ValueError(f"{where}: a score is a number from 0 to 100, or nothing; got {cell!r:.60}")
    return score
