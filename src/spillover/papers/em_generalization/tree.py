"""Which files of a folder are what in the release, found by name and place. Reads no content; parses each name once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.place import CrossValidationName, GeometryName

GEOMETRY = ".eval_delta_compare.json"
HARMLESS = (
    ".md",
    ".txt",
    ".py",
    ".ipynb",
    ".sh",
    ".pdf",
    ".png",
    ".svg",
    ".html",
    ".toml",
    ".cfg",
    ".lock",
    ".gitignore",
)


@dataclass(frozen=True)
class RunFiles:
    """One run asked one set of questions: its judged answers (CSV) and its summary (JSON), or one of the two."""

    name: RunName
    folder: Path
    answers: Path | None = None
    summary: Path | None = None

    @property
    def file_name(self) -> str:
        """The files' name without its ending."""
        return next(path.stem for path in (self.answers, self.summary) if path is not None)


@dataclass(frozen=True)
class Tree:
    """What a folder holds of the release."""

    root: Path
    runs: tuple[RunFiles, ...] = ()
    geometry: tuple[tuple[GeometryName, Path], ...] = ()
    cross_validation: tuple[tuple[CrossValidationName, Path], ...] = ()
    questions: tuple[Path, ...] = ()  # YAML
    tables: tuple[Path, ...] = ()  # CSV of published numbers
    refused: tuple[Rejected, ...] = ()  # files whose name does not say what they are
    aside: tuple[Path, ...] = ()  # files of kinds that are not read

    def within(self, path: Path) -> str:
        """A file's path below the root, for messages."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


@dataclass
class _Found:
    runs: dict[tuple[Path, str], dict[str, Path]] = field(default_factory=dict)
    geometry: list[tuple[GeometryName, Path]] = field(default_factory=list)
    cross_validation: list[tuple[CrossValidationName, Path]] = field(default_factory=list)
    questions: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)


def scan(root: Path) -> Tree:
    """The release's files below a folder, each by what its name says; ValueError where there is none."""
    root = Path(root).expanduser().absolute()
    if not root.is_dir():
        what = "is a file: name the folder that holds the release" if root.exists() else "does not exist"
        raise ValueError(f"{root} {what}")
    found = _Found()
    for path in _files(root, found):
        try:
            _sort(path, found)
        except ValueError as error:
            found.refused.append(Rejected(path.relative_to(root).as_posix(), 0, str(error)))
    runs = []
    for (folder, stem), paths in found.runs.items():
        try:
            runs.append(RunFiles(RunName.parsed(stem), folder, paths.get(".csv"), paths.get(".json")))
        except ValueError as error:
            found.refused += [Rejected(path.relative_to(root).as_posix(), 0, str(error)) for path in paths.values()]
    if not (runs or found.geometry or found.cross_validation or found.tables or found.refused):
        raise ValueError(
            f"{root} holds no file of the release: expected eval_*.csv and eval_*.json (judged answers and "
            f"summaries), *{GEOMETRY}, directions_cv/**/*.csv or published tables in CSV"
        )
    lists = (found.geometry, found.cross_validation, found.questions, found.tables, found.refused, found.aside)
    return Tree(root, tuple(runs), *map(tuple, lists))  # type: ignore[arg-type]


def _sort(path: Path, found: _Found) -> None:
    name, ending = path.name, path.suffix.lower()
    if name.endswith(GEOMETRY):
        found.geometry.append((GeometryName.parsed(path), path))
    elif name.startswith("eval_") and ending in (".csv", ".json"):
        found.runs.setdefault((path.parent, path.stem), {})[ending] = path
    elif ending == ".csv" and "-numpc" in name:
        found.cross_validation.append((CrossValidationName.parsed(path), path))
    elif ending in (".yaml", ".yml"):
        found.questions.append(path)
    elif ending == ".csv":
        found.tables.append(path)
    elif ending not in HARMLESS and name != "LICENSE":
        found.aside.append(path)


def _files(root: Path, found: _Found) -> list[Path]:
    def missed(error: OSError) -> None:
        found.refused.append(Rejected(str(error.filename), 0, f"cannot be opened ({error.strerror})"))

    paths = []
    for folder, folders, names in os.walk(root, onerror=missed):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        paths += [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
    return paths
