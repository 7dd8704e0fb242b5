"""The field's usual CSV of judged answers (question, question_id, answer, aligned, coherent). Knows no release.

The layout is that of Betley et al., *Emergent Misalignment* (2025). The judge is not in the file: it is unknown unless
the user says it; what kind of scores they are (fractions, integers) is seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
            questions=QuestionIds.of(counted.questions),
            scored=counted.metrics,
            codes=tuple(name for name in counted.columns if name not in counted.metrics),
            prompting=counted.prompting,
        ),
        counted,
    )
