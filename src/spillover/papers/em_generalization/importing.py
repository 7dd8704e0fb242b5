"""From the release's files to the artefacts they become; what cannot be read is refused by itself. Knows no command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from spillover.judgements.tables.evidence import Kind, QuestionFile, ScoredBy, kind_of, read_questions, witness
from spillover.judgements.tables.imported_scores import QuestionIds, SourceFile
from spillover.judgements.tables.judged_columns import CODES, Survey, survey
from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.em_generalization.cross_validation import PublishedCrossValidation
from spillover.papers.em_generalization.geometry import PublishedGeometry
from spillover.papers.em_generalization.published_table import PublishedTable
from spillover.papers.em_generalization.run import PublishedRun
from spillover.papers.em_generalization.summaries import Summary, read_summary
from spillover.papers.em_generalization.tree import RunFiles, Tree
from spillover.store import Artefact, ProgressFn

Found = TypeVar("Found")


@dataclass(frozen=True)
class Piece:
    """One artefact to be: the files it comes from, and how to read them. `build` gives None where none can be read."""

    paths: tuple[Path, ...]
    build: Callable[[ProgressFn], Artefact | None]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.paths if path.is_file())


@dataclass
class Import:
    """The artefacts that a tree becomes, one by one, and what was refused on the way."""

    tree: Tree
    refused: list[Rejected] = field(default_factory=list)
    malformed: list[Rejected] = field(default_factory=list)  # rows, the first of each file
    rows: int = 0  # malformed ones in all
    questions: list[QuestionFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refused += self.tree.refused
        read = [self._read(path, read_questions) for path in self.tree.questions]
        self.questions += [one for one in read if one is not None]

    def pieces(self) -> list[Piece]:
        """What there is to import, runs first; a file is read when its piece is built."""
        found = []
        for run in self.tree.runs:
            paths = tuple(path for path in (run.answers, run.summary) if path is not None)
            found.append(Piece(paths, functools.partial(self.run, run)))
        for place, path in self.tree.geometry:
            found.append(Piece((path,), functools.partial(_single, PublishedGeometry, place, path)))
        for fold, path in self.tree.cross_validation:
            found.append(Piece((path,), functools.partial(_single, PublishedCrossValidation, fold, path)))
        for path in self.tree.tables:
            found.append(Piece((path,), functools.partial(_single, PublishedTable, path.stem, path)))
        return found

    def run(self, files: RunFiles, progress: ProgressFn = lambda share: None) -> PublishedRun | None:
        """The artefact of one run from those of its files that can be read; None where none can."""
        counted = self._read(files.answers, lambda path: survey(path, progress))
        published = self._read(files.summary, read_summary)
        if counted is None and published is None:
            return None
        if counted is not None and files.answers is not None:
            within = self.tree.within(files.answers)
            self.rows += counted.malformed
            self.malformed += [replace(row, file=within) for row in counted.rejected]
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
            questions=QuestionIds.of(ids),
            scored=metrics,
            codes=tuple(name for name in columns if name not in metrics),
            prompting="unknown" if counted is None else counted.prompting,
        )

    def refuse(self, path: Path, error: Exception) -> None:
        """Note that a file cannot be imported, and why."""
        self.refused.append(Rejected(self.tree.within(path), 0, str(error).replace(f"{self.tree.root}/", "")))

    def _read(self, path: Path | None, read: Callable[[Path], Found]) -> Found | None:
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
