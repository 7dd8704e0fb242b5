"""The importer of the release: from its files to the artefacts they become; a file that cannot be read costs itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from spillover.importers.importer import Importer, ImportPlan, Piece
from spillover.judgements.tables.evidence import Kind, QuestionFile, ScoredBy, kind_of, read_questions, witness
from spillover.judgements.tables.imported_scores import QuestionIds, SourceFile
from spillover.judgements.tables.judged_columns import CODES, Survey, survey_answers
from spillover.judgements.tables.row_reader import read_rows
from spillover.papers.em_generalization.cross_validation import PublishedCrossValidation
from spillover.papers.em_generalization.geometry import PublishedGeometry
from spillover.papers.em_generalization.published_table import PublishedTable
from spillover.papers.em_generalization.run import PublishedRun
from spillover.papers.em_generalization.summaries import Summary, read_summary
from spillover.papers.em_generalization.tree import RunFiles, Tree, scan
from spillover.store import Artefact, ProgressFn

Content = TypeVar("Content")


class EmGeneralization(Importer):
    """Import judged answers, summaries, logs and tables of a release."""

    takes: ClassVar[str] = "Folder of the paper's released files, at their published paths."

    def plan(self, paths: Sequence[Path]) -> ReleasePlan:
        if len(paths) != 1:
            raise ValueError(f"one folder is imported at a time, that of the released files; got {len(paths)} paths")
        return ReleasePlan.from_tree(scan(paths[0]))


@dataclass
class ReleasePlan(ImportPlan):
    """The artefacts that a release's files become, runs first; a file is read when its piece is."""

    tree: Tree = field(kw_only=True)
    questions: list[QuestionFile] = field(default_factory=list)

    @classmethod
    def from_tree(cls, tree: Tree) -> ReleasePlan:
        """What is to be imported of a tree."""
        plan = cls(f"{len(tree.runs)} runs and other results of {tree.root}", tree.root, tree=tree)
        plan.refused += tree.refused
        plan.notes += [f"left aside: {tree.within(path)} is of no kind that the release has" for path in tree.aside]
        files = [plan._or_refused(path, read_questions) for path in tree.questions]
        plan.questions += [file for file in files if file is not None]
        for run in tree.runs:
            paths = tuple(path for path in (run.answers, run.summary) if path is not None)
            plan.pieces.append(Piece(paths, functools.partial(plan.run, run)))
        for place, path in tree.geometry:
            plan.pieces.append(Piece((path,), functools.partial(_single, PublishedGeometry, place, path)))
        for fold, path in tree.cross_validation:
            plan.pieces.append(Piece((path,), functools.partial(_single, PublishedCrossValidation, fold, path)))
        for path in tree.tables:
            plan.pieces.append(Piece((path,), functools.partial(_single, PublishedTable, path.stem, path)))
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
        tag = files.name.asked.judge
        asked_from = witness(self.questions, ids, kind, tag)
        by = ScoredBy(scores=kind, tag=tag)
        if asked_from is not None:
            by = by.but(named=asked_from.judges, prompts_sha256=asked_from.prompts_sha256)
            by = by.but(question_file=self.tree.within(asked_from.path))
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


def _single(kind: Callable[..., Artefact], name: Any, path: Path, progress: ProgressFn) -> Artefact:
    return kind(name=name, file=SourceFile.from_file(path))


def _kind(counted: Survey | None, published: Summary | None) -> Kind:
    """What the scores are, from the answers where they are there, else from the means."""
    if counted is not None:
        return kind_of(counted.integers())
    if published is None:
        return "none"
    return kind_of(published.whole(name) for name in published.metrics if name not in CODES)
