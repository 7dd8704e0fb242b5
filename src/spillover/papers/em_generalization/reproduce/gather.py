"""Everything of a released tree that the reproduction needs, read once. What cannot be read is a problem, and no more.

Knows the readers; computes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from spillover.judgements.tables.row_reader import Rejected, header_of
from spillover.papers.cells import as_number
from spillover.papers.em_generalization.answers import Answers, read_answers
from spillover.papers.em_generalization.reproduce.activation_files import read_cross_validated, read_geometry_run
from spillover.papers.em_generalization.reproduce.geometry import GeometryRun
from spillover.papers.em_generalization.reproduce.prediction import CrossValidated
from spillover.papers.em_generalization.reproduce.prior import Prior
from spillover.papers.em_generalization.reproduce.runs import Run
from spillover.papers.em_generalization.reproduce.tables import (
    PublishedTable,
    kind_of,
    priors_of,
    read_comparison,
    read_table,
)
from spillover.papers.em_generalization.summaries import Summary, read_summary
from spillover.papers.em_generalization.tree import RunFiles, Tree, scan
from spillover.papers.paper import StageProgress

T = TypeVar("T")
LARGEST = 50_000_000  # bytes of a JSON that may be a table of comparisons


@dataclass
class Gathered:
    """What a tree holds. problems: files, or lines of them, that could not be read, and why."""

    tree: Tree
    runs: list[Run] = field(default_factory=list)
    tables: dict[str, list[PublishedTable]] = field(default_factory=dict)
    comparisons: list[tuple[str, dict[str, dict[str, dict[str, Any]]]]] = field(default_factory=list)
    priors: list[Prior] = field(default_factory=list)
    cross_validated: list[CrossValidated] = field(default_factory=list)
    geometry: list[GeometryRun] = field(default_factory=list)
    problems: list[Rejected] = field(default_factory=list)

    def rows(self, kind: str) -> list[tuple[PublishedTable, dict[str, str]]]:
        """The rows of all published tables of a kind, each with its table."""
        return [(table, dict(row)) for table in self.tables.get(kind, []) for row in table.rows]


def gather(path: Path, progress: StageProgress) -> Gathered:
    """Read the tree at `path`; ValueError where there is none. Tables may also lie in the folder above it."""
    tree = scan(path)
    found = Gathered(tree, problems=list(tree.refused))
    _read_tables(found, progress)
    _read_runs(found, progress)
    found.priors += [prior for table in found.tables.get("pretrained", []) for prior in priors_of(table)]
    found.priors += [prior for run in found.runs if (prior := _prior_of(run)) is not None]
    for at, (name, file) in enumerate(tree.cross_validation):
        progress("cross-validation", at / len(tree.cross_validation))
        _keep(found, file, found.cross_validated, partial(read_cross_validated, name, file))
    for at, (place, file) in enumerate(tree.geometry):
        progress("geometry", at / len(tree.geometry))
        _keep(found, file, found.geometry, partial(read_geometry_run, place, file))
    return found


def _read_tables(found: Gathered, progress: StageProgress) -> None:
    tree = found.tree
    inside = [path for path in (*tree.tables, *tree.aside) if path.suffix.lower() in (".csv", ".json")]
    above = sorted(path for path in tree.root.parent.glob("*.*") if path.suffix.lower() in (".csv", ".json"))
    for at, path in enumerate(inside):
        progress("published tables", at / len(inside))
        _try(found, path, partial(_add_table, found, path))
    for path in above:  # read-back scores and comparisons of the release may lie beside its tree
        if _may_be_read_back(path):
            _try(found, path, partial(_add_table, found, path))


def _may_be_read_back(path: Path) -> bool:
    """Whether a file beside the tree is worth a look: somebody's other files may be there, too."""
    try:
        if path.suffix.lower() == ".csv":
            return kind_of(header_of(path)) == "pretrained"
        return path.stat().st_size < LARGEST and read_comparison(path) is not None
    except (ValueError, OSError):
        return "prior_comparison" in path.name or "pretrained_scores" in path.name


def _add_table(found: Gathered, path: Path) -> None:
    file = found.tree.within(path) if path.is_relative_to(found.tree.root) else path.name
    if path.suffix.lower() == ".json":
        comparison = read_comparison(path) if path.stat().st_size < LARGEST else None
        if comparison is not None:
            found.comparisons.append((file, comparison))
        return
    table = read_table(path, file)
    found.tables.setdefault(table.kind, []).append(table)
    found.problems += [Rejected(file, one.line, one.why, one.text) for one in table.rejected]


def _read_runs(found: Gathered, progress: StageProgress) -> None:
    files = found.tree.runs
    stems = Counter(one.stem for one in files)
    for at, one in enumerate(files):
        progress("runs", at / len(files))
        run = _run(found, one, one.stem if stems[one.stem] == 1 else f"{one.folder.name}/{one.stem}")
        if run is not None:
            found.runs.append(run)


def _run(found: Gathered, files: RunFiles, label: str) -> Run | None:
    """A run with what of it can be read; None where nothing can."""
    summaries: list[Summary] = []
    answers: list[Answers] = []
    if files.summary is not None:
        _keep(found, files.summary, summaries, partial(read_summary, files.summary))
    if files.answers is not None:
        _keep(found, files.answers, answers, partial(read_answers, files.answers))
    if not summaries and not answers:
        return None
    for one in answers[:1]:
        name = found.tree.within(files.answers or files.folder)
        found.problems += [Rejected(name, row.line, row.why, row.text) for row in one.counted.rejected]
    first = (next(iter(summaries), None), next(iter(answers), None))
    return Run(label, files.stem, found.tree.within(files.folder), files.name, *first)


def _prior_of(run: Run) -> Prior | None:
    """A model that was not fine-tuned as the prior of those that were."""
    if run.name.tuned or run.summary is None:
        return None
    columns: dict[str, dict[str, float]] = {}
    for question, table in run.summary.by_question.items():
        for name, value in table.items():
            found = as_number(value)
            if found is not None:
                columns.setdefault(name if name.endswith("_std") else f"{name}_mean", {})[question] = found
    return Prior(run.name.model, run.questions, columns, 0.0, run.answers_each) if columns else None


def _keep(found: Gathered, path: Path, kept: list[T], read: Callable[[], T]) -> None:
    _try(found, path, lambda: kept.append(read()))


def _try(found: Gathered, path: Path, read: Callable[[], Any]) -> None:
    """Read one file; what is wrong with it is kept, and nothing else is lost."""
    try:
        read()
    except (ValueError, OSError, KeyError, TypeError) as error:
        file = found.tree.within(path) if path.is_relative_to(found.tree.root) else path.name
        why = " ".join(str(error).split()).removeprefix(str(path)).lstrip(":, ")
        found.problems.append(Rejected(file, 0, why.replace(f"{found.tree.root}/", "")))
