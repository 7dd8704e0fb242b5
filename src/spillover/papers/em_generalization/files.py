"""Which files of a folder are what in the release, by their names and folders; their content is not read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.em_generalization.names import CrossValidationName, GeometryName, RunName

GEOMETRY = ".eval_delta_compare.json"
HARMLESS = frozenset(
    (".md", ".txt", ".py", ".ipynb", ".sh", ".pdf", ".png", ".svg", ".html", ".toml", ".cfg", ".lock", ".gitignore")
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


@dataclass
class ReleaseFiles:
    """The files of a release below a folder.

    questions: YAML. tables: CSV of published numbers. refused: files whose name does not say what they are. unknown:
    files of kinds that are not read.
    """

    root: Path
    runs: list[RunFiles] = field(default_factory=list)
    geometry: list[tuple[GeometryName, Path]] = field(default_factory=list)
    cross_validation: list[tuple[CrossValidationName, Path]] = field(default_factory=list)
    questions: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)

    def within(self, path: Path) -> str:
        """A file's path below the root, for messages."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def find_files(root: Path) -> ReleaseFiles:
    """The release's files below a folder, each by what its name says; ValueError where there is none."""
    root = Path(root).expanduser().absolute()
    if not root.is_dir():
        what = "is a file: name the folder that holds the release" if root.exists() else "does not exist"
        raise ValueError(f"{root} {what}")
    files = ReleaseFiles(root)
    of_runs: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in _paths(files):
        if path.name.startswith("eval_") and path.suffix.lower() in (".csv", ".json") and not _is_geometry(path):
            of_runs.setdefault((path.parent, path.stem), {})[path.suffix.lower()] = path
            continue
        try:
            _add(files, path)
        except ValueError as error:
            files.refused.append(Rejected(files.within(path), 0, str(error)))
    for (folder, name), paths in of_runs.items():
        try:
            files.runs.append(RunFiles(RunName.parsed(name), folder, paths.get(".csv"), paths.get(".json")))
        except ValueError as error:
            files.refused += [Rejected(files.within(path), 0, str(error)) for path in paths.values()]
    if not (files.runs or files.geometry or files.cross_validation or files.tables or files.refused):
        raise ValueError(
            f"{root} holds no file of the release: expected eval_*.csv and eval_*.json (judged answers and "
            f"summaries), *{GEOMETRY}, directions_cv/**/*.csv or published tables in CSV"
        )
    return files


def _is_geometry(path: Path) -> bool:
    return path.name.endswith(GEOMETRY)


def _add(files: ReleaseFiles, path: Path) -> None:
    """Add a file that belongs to no run; ValueError where its name does not say what it is."""
    ending = path.suffix.lower()
    if _is_geometry(path):
        files.geometry.append((GeometryName.parsed(path), path))
    elif ending == ".csv" and "-numpc" in path.name:
        files.cross_validation.append((CrossValidationName.parsed(path), path))
    elif ending in (".yaml", ".yml"):
        files.questions.append(path)
    elif ending == ".csv":
        files.tables.append(path)
    elif ending not in HARMLESS and path.name != "LICENSE":
        files.unknown.append(path)


def _paths(files: ReleaseFiles) -> list[Path]:
    """Every file below the root that is not hidden, in order of its path; folders that cannot be opened are refused."""

    def refuse(error: OSError) -> None:
        files.refused.append(Rejected(str(error.filename), 0, f"cannot be opened ({error.strerror})"))

    paths = []
    for folder, folders, names in os.walk(files.root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
    return paths
