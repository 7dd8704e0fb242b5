"""Judged answers that others made, as an artefact like our own. Knows rows and specs; each source knows its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from spillover.judgements.score_columns import judged
from spillover.judgements.scored_answers import Condition, ScoreColumns, ScoredAnswers
from spillover.judgements.tables.evidence import UNKNOWN, ScoredBy
from spillover.manifest import remembered_sha256
from spillover.spec import Spec, decode, kinds_of, location_field
from spillover.store import Store


class SourceFile(Spec):
    """A file of somebody else's, known by its bytes."""

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The file as it is now."""
        return cls(path=str(path), sha256=remembered_sha256(path))

    def checked(self) -> Path:
        """Its path, if it still has those bytes."""
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"{path} is not there any more: import it again from where it lies now")
        if remembered_sha256(path) != self.sha256:
            raise ValueError(f"{path} has changed since the import began: give the same command again")
        return path

    def summary(self) -> str:
        return Path(self.path).name


class QuestionIds(Spec):
    """Which question ids were asked: how many, and the SHA-256 of the sorted list."""

    count: int
    sha256: str

    @classmethod
    def from_ids(cls, ids: Iterable[str]) -> Self:
        """These ids, in whatever order."""
        distinct = sorted(set(ids))
        return cls(count=len(distinct), sha256=hashlib.sha256("\n".join(distinct).encode()).hexdigest())

    def summary(self) -> str:
        return f"{self.count} question ids ({self.sha256[:8]})"


class ImportedScores(ScoredAnswers):
    """Answers that others sampled and judged."""

    judged_by: ScoredBy
    questions: QuestionIds
    scored: tuple[str, ...]  # metrics from 0 to 100
    codes: tuple[str, ...] = ()  # what the judge names by a number; in judgements.parquet, no metric of any analysis
    prompting: str = UNKNOWN  # chat, question-answer, raw

    @property
    def judge_name(self) -> str:
        return self.judged_by.name

    @property
    def rubric_name(self) -> str:
        return self.judged_by.rubric

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.scored

    @property
    def temperature(self) -> float | None:
        """The sampling temperature; None where it is not known."""
        return None

    def judge_card(self) -> str:
        return self.judged_by.card()

    def conditions(self) -> Mapping[str, Condition]:
        heat = None if self.temperature is None else f"temperature {self.temperature:g}"
        return {
            "judge": _known(self.judge_name, self.judged_by.summary()),
            "scores": _known(None if self.judged_by.scores == "none" else self.judged_by.scores, self.judged_by.mode),
            "rubric": _known(self.rubric_name, self.rubric_name),
            "questions": Condition(self.questions.sha256, self.questions.summary),
            "sampling": _known(heat, heat or "temperature unknown"),
            "prompting": _known(self.prompting, self.prompting),
        }

    def columns(self, store: Store) -> ScoreColumns:
        return judged(store.path(self), store.path(self), self.metrics)


def imported_in(store: Store) -> list[ImportedScores]:
    """Every imported set of judged answers that a store holds, oldest first: what to put into an analysis."""
    kinds = kinds_of(ImportedScores)
    return [decode(manifest["spec"]) for _, manifest in store.manifests() if manifest["spec"]["kind"] in kinds]


def _known(key: str | None, words: str) -> Condition:
    return Condition(None if key in (None, UNKNOWN) else key, lambda: words)
