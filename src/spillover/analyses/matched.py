"""Answers that two judges have both scored, however their sets are cut. Knows scored answers, no statistic."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spillover.analyses.scores import Scores, read
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.store import Store

TEXTS = ("question_id", "question", "family", "category", "format", "sample", "answer", "missing")


@dataclass(frozen=True)
class Judged:
    """Everything that one judge scored by one rubric."""

    judge: str
    rubric: str
    metrics: tuple[str, ...]
    scores: Scores  # with `subject`, who answered

    @property
    def label(self) -> str:
        """Judge and rubric, for tables."""
        return f"{self.judge} ({self.rubric})"

    def missing(self, metric: str) -> str:
        """Why answers lack a score of the metric, with counts."""
        reasons = self.scores["missing"][np.isnan(self.scores[metric])]
        counted = Counter(str(reason) for reason in reasons).most_common()
        return "; ".join(f"{count} {reason}" for reason, count in counted)


def by_judge(sets: Sequence[ScoredAnswers], store: Store) -> list[Judged]:
    """The sets, put together by judge and rubric, in the order in which these come first."""
    grouped: dict[tuple[str, str], list[ScoredAnswers]] = defaultdict(list)
    for one in sets:
        grouped[one.judge_name, one.rubric_name].append(one)
    found = []
    for (judge, rubric), group in grouped.items():
        metrics = tuple(metric for metric in group[0].metrics if all(metric in one.metrics for one in group))
        parts = [read(one, store) for one in group]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in (*TEXTS, *metrics)}
        columns["subject"] = np.concatenate([np.full(len(part), part.label, dtype=object) for part in parts])
        found.append(Judged(judge, rubric, metrics, Scores(judge, columns)))
    return found


def same_answers(first: Judged, second: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first and of the second that are the same answer to the same question, in the first's order.

    The same is what has the same question, sample number and text; where one judge has it several times (two models
    said the same), its first is the other's first. ValueError where there are none.
    """
    places: dict[Any, list[int]] = defaultdict(list)
    for row, key in reversed([*enumerate(_keys(second))]):
        places[key].append(row)
    pairs = [(row, places[key].pop()) for row, key in enumerate(_keys(first)) if places.get(key)]
    if not pairs:
        raise ValueError(
            f"{first.label} and {second.label} have no answer in common: agreement needs the same answers, judged twice"
        )
    rows = np.array(pairs)
    return rows[:, 0], rows[:, 1]


def _keys(one: Judged) -> list[Any]:
    answers = [answer or "" for answer in one.scores["answer"]]  # what is empty in a store is nothing in a CSV
    return list(zip(one.scores["question_id"], one.scores["sample"], answers, strict=True))
