"""What an importer is: it reads results that others published, piece by piece, and gives them as artefacts.

An importer is one file in this folder (`spillover new importer NAME`), found by itself. It is a command:
`spillover import NAME PATH...`; its fields are the command's options.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from spillover.judgements.tables.imported_scores import ImportedFile
from spillover.judgements.tables.judged_columns import Survey, survey_answers
from spillover.judgements.tables.row_reader import Rejected
from spillover.spec import Spec, kinds_of, typed_name
from spillover.store import Artefact, ProgressFn, Store

READING = 0.4  # share of a piece's time before its artefact is made


@dataclass(frozen=True)
class Piece:
    """One artefact to be: the files it comes from, and how they are read.

    `read` is told of its progress (shares from 0 to 1) and gives the artefact, or None where no file of the piece can
    be read. ValueError: the file is refused, with that reason.
    """

    files: tuple[Path, ...]
    read: Callable[[ProgressFn], Artefact | None]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.files if path.is_file())


@dataclass
class ImportPlan:
    """The artefacts that some files become, one by one, and what was refused on the way."""

    title: str  # what is imported, for whoever waits
    root: Path | None = None  # files are named by their path below it
    pieces: list[Piece] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)  # files
    malformed: list[Rejected] = field(default_factory=list)  # rows, the first of each file
    malformed_rows: int = 0  # all of them
    notes: list[str] = field(default_factory=list)  # what else to tell whoever imports

    def within(self, path: Path) -> str:
        """A file's path as messages name it."""
        return path.relative_to(self.root).as_posix() if self.root and path.is_relative_to(self.root) else str(path)

    def refuse(self, file: Path, error: Exception) -> None:
        """Note that a file cannot be imported, and why."""
        reason = str(error).replace(f"{self.root}/", "") if self.root else str(error)
        self.refused.append(Rejected(self.within(file), 0, reason))

    def note_rows(self, file: Path, survey: Survey) -> None:
        """Note the malformed rows of a file of judged answers."""
        self.malformed_rows += survey.malformed
        self.malformed += [replace(row, file=self.within(file)) for row in survey.rejected]

    def artefacts(self) -> Iterator[Artefact]:
        """The artefact of each piece, none of them made; a piece that cannot be read is refused."""
        for piece in self.pieces:
            if (artefact := self._read(piece, lambda share: None)) is not None:
                yield artefact

    def make(self, store: Store, progress: ProgressFn = lambda share: None) -> Iterator[tuple[Artefact, bool]]:
        """Make each artefact in a store and give it, with whether it is new; what cannot be read is refused.

        `progress` hears the share of all bytes that is done.
        """
        total, done = sum(piece.size + 1 for piece in self.pieces), 0
        for piece in self.pieces:
            before, size = done, piece.size + 1
            done += size

            def tell(share: float, before: int = before, size: int = size) -> None:
                progress((before + share * size) / total)

            artefact = self._read(piece, lambda share, tell=tell: tell(READING * share))  # type: ignore[misc]
            if artefact is not None:
                try:
                    new = store.make(artefact, lambda share, tell=tell: tell(READING + (1 - READING) * share))  # type: ignore[misc]
                except ValueError as error:
                    self.refuse(piece.files[0], error)
                else:
                    yield artefact, new
            tell(1.0)

    def _read(self, piece: Piece, progress: ProgressFn) -> Artefact | None:
        try:
            return piece.read(progress)
        except ValueError as error:
            self.refuse(piece.files[0], error)
            return None


class Importer(Spec):
    """Imports results that others published. The first line of its docstring is the command's help."""

    takes: ClassVar[str] = "Files or folders to import."  # what the paths are, for the command's help

    @abstractmethod
    def plan(self, paths: Sequence[Path]) -> ImportPlan:
        """What the files or folders at `paths` become; ValueError where they hold nothing that is imported."""


class FileImporter(Importer):
    """Imports files of judged answers, each a set of its own."""

    judge: str | None = Field(default=None, description="Who judged, where you know it: gpt-4o-2024-08-06.")

    @abstractmethod
    def file_kind(self) -> type[ImportedFile]:
        """What a file becomes, which also says how its rows are read."""

    def plan(self, paths: Sequence[Path]) -> ImportPlan:
        plan = ImportPlan(f"{len(paths)} file{'s' * (len(paths) != 1)} of judged answers")
        plan.pieces += [Piece((path,), functools.partial(self._read, plan, path)) for path in paths]
        if not self.judge:
            plan.notes.append("no --judge: where a file does not say who judged, analyses cannot refuse to mix judges")
        return plan

    def _read(self, plan: ImportPlan, path: Path, progress: ProgressFn) -> ImportedFile:
        if not path.is_file():
            raise ValueError(f"{path} is {'a folder: name the files in it' if path.is_dir() else 'not there'}")
        kind = self.file_kind()
        survey = survey_answers(kind.rows(path, progress), Survey(path.absolute()))
        plan.note_rows(path, survey)
        return kind.from_survey(survey, self.judge)


def importers() -> dict[str, type[Importer]]:
    """Every importer there is, by the name that users type."""
    return {typed_name(name): kind for name, kind in kinds_of(Importer).items() if issubclass(kind, Importer)}
