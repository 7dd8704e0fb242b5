"""The field's usual CSV of judged answers: question_id, question, answer, aligned, coherent.

The layout is that of Betley et al., *Emergent Misalignment* (2025). The judge is not in the file: it is unknown unless
the user says it; what kind of scores they are (fractions, integers) is seen.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from spillover.importers.importer import Importer, ImportPlan, Piece
from spillover.judgements.tables.evidence import ScoredBy, kind_of
from spillover.judgements.tables.imported_scores import ImportedScores, QuestionIds, SourceFile
from spillover.judgements.tables.judged_columns import Survey, survey
from spillover.judgements.tables.score_writer import write_judged
from spillover.spec import location_field
from spillover.store import BuildContext, ProgressFn


class BetleyAnswers(ImportedScores):
    """One model's judged answers from a CSV file."""

    answers: SourceFile
    name: str = location_field("")  # what tables call it: the file's name

    @property
    def subject(self) -> str:
        return self.name or self.answers.sha256[:8]

    def summary(self) -> str:
        return f"Imported answers {self.subject}; judge {self.judge_name}"

    def make(self, context: BuildContext) -> dict[str, Any]:
        path = self.answers.checked()
        return write_judged(path, self.judged_by, (*self.scored, *self.codes), context) | {"files": [path.name]}


class Betley(Importer):
    """Import files of judged answers, one set from each."""

    takes: ClassVar[str] = "CSV with question_id, question, answer and scores."
    judge: str | None = Field(default=None, description="Who judged, where you know it: gpt-4o-2024-08-06.")

    def plan(self, paths: Sequence[Path]) -> ImportPlan:
        plan = ImportPlan(f"{len(paths)} file{'s' * (len(paths) != 1)} of judged answers")
        plan.pieces += [Piece((path,), functools.partial(self._read, plan, path)) for path in paths]
        if not self.judge:
            plan.notes.append("judge: unknown; say it with --judge, so that analyses can refuse to mix judges")
        return plan

    def _read(self, plan: ImportPlan, path: Path, progress: ProgressFn) -> BetleyAnswers:
        if not path.is_file():
            raise ValueError(f"{path} is {'a folder: name CSV files' if path.is_dir() else 'not there'}")
        artefact, counted = betley_answers(path.absolute(), self.judge, progress)
        plan.note_rows(path, counted)
        return artefact


def betley_answers(
    path: Path, judge: str | None = None, progress: ProgressFn = lambda share: None
) -> tuple[BetleyAnswers, Survey]:
    """The artefact of a file, and what it holds; ValueError where it holds no judged answers."""
    counted = survey(path, progress)
    return (
        BetleyAnswers(
            answers=SourceFile.from_file(path),
            name=path.name.removesuffix(".csv"),
            judged_by=ScoredBy(scores=kind_of(counted.integers()), said=judge),
            questions=QuestionIds.from_ids(counted.questions),
            scored=counted.metrics,
            codes=tuple(name for name in counted.columns if name not in counted.metrics),
            prompting=counted.prompting,
        ),
        counted,
    )
