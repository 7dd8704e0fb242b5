"""The importer of the release: from its files to the artefacts they become; a file that cannot be read costs itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from spillover.importers.importer import Importer, ImportPlan, Piece
from spillover.judgements.tables.evidence import (
    QuestionFile,
    ScoredBy,
    ScoreKind,
    question_file_with,
    read_questions,
    score_kind,
)
from spillover.judgements.tables.imported_scores import QuestionIds, SourceFile
from spillover.judgements.tables.judged_columns import CODES, Survey, survey_answers
from spillover.judgements.tables.row_reader import read_rows
from spillover.papers.em_generalization.artefacts import (
    PublishedCrossValidation,
    PublishedGeometry,
    PublishedRun,
    PublishedTable,
)
from spillover.papers.em_generalization.contents import Summary, read_summary
from spillover.papers.em_generalization.files import ReleaseFiles, RunFiles, find_files
from spillover.store import Artefact, ProgressFn

Content = TypeVar("Content")


class EmGeneralization(Importer):
    """Import the paper's judged answers, summaries, logs and tables."""

    takes: ClassVar[str] = "Folder of the paper's released files, at their published paths."

    def plan(self, paths: Sequence[Path]) -> ReleasePlan:
        if len(paths) != 1:
            raise ValueError(f"one folder is imported at a time, that of the released files; got {len(paths)} paths")
        return ReleasePlan.from_files(find_files(paths[0]))


@dataclass
class ReleasePlan(ImportPlan):
    """The artefacts that a release's files become, runs first; a file is read when its piece is."""

    files: ReleaseFiles = field(kw_only=True)
    questions: list[QuestionFile] = field(default_factory=list)

    @classmethod
    def from_files(cls, files: ReleaseFiles) -> ReleasePlan:
        """What is to be imported of a release's files."""
        plan = cls(f"{len(files.runs)} runs and other results of {files.root}", files.root, files=files)
        plan.refused += files.refused
        plan.notes += [f"left aside: {files.within(path)} is of no kind that the release has" for path in files.unknown]
        questions = [plan._or_refused(path, read_questions) for path in files.questions]
        plan.questions += [file for file in questions if file is not None]
        for run in files.runs:
            paths = tuple(path for path in (run.answers, run.summary) if path is not None)
            plan.pieces.append(Piece(paths, partial(plan.run, run)))
        results: list[tuple[Path, Callable[..., Artefact]]] = [
            *((path, partial(PublishedGeometry, name=name)) for name, path in files.geometry),
            *((path, partial(PublishedCrossValidation, name=name)) for name, path in files.cross_validation),
            *((path, partial(PublishedTable, name=path.stem)) for path in files.tables),
        ]
        plan.pieces += [Piece((path,), partial(_of_one_file, kind, path)) for path, kind in results]
        return plan

    def run(self, files: RunFiles, progress: ProgressFn = lambda share: None) -> PublishedRun | None:
        """The artefact of one run from those of its files that can be read; None where none can."""
        counted = self._or_refused(files.answers, lambda path: survey_answers(read_rows(path, progress), Survey(path)))
        published = self._or_refused(files.summary, read_summary)
        if counted is None and published is None:
            return None
        if counted is not None and files.answers is not None:
            self.note_rows(files.answers, counted)
        ids = counted.questions if counted is not None else published.by_question if published is not None else ()
        kind = _kind(counted, published)
        tag = files.name.question_set.judge
        asked_from = question_file_with(self.questions, ids, kind, tag)
        by = ScoredBy(scores=kind, tag=tag)
        if asked_from is not None:
            by = by.but(named=asked_from.judges, prompts_sha256=asked_from.prompts_sha256)
            by = by.but(question_file=self.files.within(asked_from.path))
        columns = counted.columns if counted is not None else published.metrics if published is not None else ()
        metrics = counted.metrics if counted is not None else tuple(name for name in columns if name not in CODES)
        return PublishedRun(
            name=files.name,
            answers=SourceFile.from_file(files.answers) if counted is not None and files.answers else None,
            published=SourceFile.from_file(files.summary) if published is not None and files.summary else None,
            steps=published.steps[-1]["step"] if published is not None and published.steps else 0,
            judged_by=by,
            questions=QuestionIds.from_ids(ids),
            scored=metrics,
            codes=tuple(name for name in columns if name not in metrics),
            prompting="unknown" if counted is None else counted.prompting,
        )

    def _or_refused(self, path: Path | None, read: Callable[[Path], Content]) -> Content | None:
        if path is None:
            return None
        try:
            return read(path)
        except ValueError as error:
            self.refuse(path, error)
            return None


def _of_one_file(kind: Callable[..., Artefact], path: Path, progress: ProgressFn) -> Artefact:
    return kind(file=SourceFile.from_file(path))


def _kind(counted: Survey | None, published: Summary | None) -> ScoreKind:
    """What the scores are, from the answers where they are there, else from the means."""
    if counted is not None:
        return score_kind(counted.integers())
    if published is None:
        return "none"
    return score_kind(published.whole(name) for name in published.metrics if name not in CODES)
