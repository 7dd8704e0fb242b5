"""Judged answers as arrays, question by question, and whether sets of them may be compared. Knows no statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spillover.judgements.scored_answers import ScoreColumns, ScoredAnswers
from spillover.store import Store

JUDGING = ("judge", "scores", "rubric")  # terms that say who scored, in which way and by which text
_JUDGED_ALIKE = "judge them alike, or say allow_unlike_judges=True: the report then warns of it"
_DO = {"prompting": "state the prompting for both", **dict.fromkeys(JUDGING, _JUDGED_ALIKE)}


@dataclass(frozen=True)
class Scores:
    """The judged answers of one model: one entry an answer in every column."""

    label: str
    columns: ScoreColumns
    published: Mapping[str, float] | None = None  # where an entry is a question: mean over all answers, by metric
    _found: dict[str, Mapping[Any, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def by_question(self) -> bool:
        """Whether an entry is a question's mean, not an answer."""
        return self.published is not None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["question_id"])

    def only(self, format: str) -> Scores:
        """The answers in one answer format."""
        keep = self.columns["format"] == format
        return Scores(self.label, {name: values[keep] for name, values in self.columns.items()})

    def over_answers(self, metric: str) -> float:
        """Mean over all scored answers, whatever their question; NaN where there is none."""
        if self.published is not None:
            return self.published.get(metric, float("nan"))
        return _mean(self.columns[metric])

    def means(self, metric: str, questions: Sequence[str], by: str = "question") -> np.ndarray:
        """Mean score of each of `questions` over its scored answers: (questions,); NaN where none is scored."""
        rows, values = self.rows(by), self.columns[metric]
        return np.array([_mean(values[rows[one]]) if one in rows else np.nan for one in questions])

    def rows(self, by: str) -> Mapping[Any, np.ndarray]:
        """Indices of the answers that share a value of a column, in order, by that value; found once."""
        if by not in self._found:
            labels = self.columns[by].tolist()
            seen: dict[Any, int] = {}
            code = np.fromiter((seen.setdefault(label, len(seen)) for label in labels), np.int64, len(labels))
            ends = np.cumsum(np.bincount(code, minlength=len(seen)))
            parts = np.split(np.argsort(code, kind="stable"), ends[:-1]) if len(labels) else []
            self._found[by] = dict(zip(seen, parts, strict=True))
        return self._found[by]

    def error(self, metric: str) -> float:
        """Standard error of the mean over questions from the scatter of answers within a question; NaN if unknown."""
        parts = []
        for _, rows in sorted(self.rows("question_id").items()):
            values = self.columns[metric][rows]
            values = values[~np.isnan(values)]
            if len(values) > 1:
                parts.append(values.var(ddof=1) / len(values))
        return float(np.sqrt(np.mean(parts) / len(parts))) if parts else float("nan")


def read(scored: ScoredAnswers, store: Store, means: bool = False) -> Scores:
    """The judged answers of one subject. Where only means by question are there, they are refused unless `means`."""
    if scored.by_question and not means:
        raise ValueError(
            f"{scored.subject}: only means by question are there, and this needs the answers themselves; "
            f"import the file of judged answers beside the summary"
        )
    published = scored.means(store) if scored.by_question else None
    return Scores(scored.subject, scored.columns(store), published)


def pool(scores: Sequence[Scores], label: str) -> Scores:
    """The answers of several models as those of one."""
    names = scores[0].columns
    return Scores(label, {name: np.concatenate([one.columns[name] for one in scores]) for name in names})


def refuse_unlike(sets: Sequence[ScoredAnswers], allow_judges: bool = False) -> None:
    """Refuse to compare answers to other questions, under another prompting or by another judge (method.md, mistake 3).

    `allow_judges` lets unlike judges and rubrics pass, as an analysis' `allow_unlike_judges` says; what they score has
    to be the same.
    """
    first = sets[0]
    for other in sets[1:]:
        ours, theirs = first.conditions(), other.conditions()
        for what in (name for name in ours if name in theirs):
            if ours[what].unlike(theirs[what]) and not (allow_judges and what in JUDGING):
                differ = f"{what} {ours[what].describe()!r} against {theirs[what].describe()!r}"
                raise ValueError(
                    f"{first.subject} and {other.subject} cannot be compared: {differ}; "
                    f"{_DO.get(what, 'ask them alike')}"
                )
        if allow_judges and set(first.metrics) != set(other.metrics):
            raise ValueError(
                f"{first.subject} and {other.subject} cannot be compared: {first.judge_name} scores "
                f"{', '.join(first.metrics)}, {other.judge_name} {', '.join(other.metrics)}"
            )


def questions_of(scores: Scores, by: str = "question") -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The distinct questions (or question ids) in order, with family, category and format of each."""
    kept: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(scores[by].tolist()):
        if name not in kept:
            kept[name] = {field: scores[field][index] for field in ("question", "family", "category", "format")}
    return list(kept), kept


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
