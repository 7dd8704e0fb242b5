"""From the release's files to the artefacts they become; what cannot be read is refused by itself. Knows no command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from spillover.sources.csv_rows import Rejected
from spillover.sources.em_generalization.cross_validation import PublishedCrossValidation
from spillover.sources.em_generalization.geometry import PublishedGeometry
from spillover.sources.em_generalization.published_table import PublishedTable
from spillover.sources.em_generalization.run import PublishedRun
from spillover.sources.em_generalization.summaries import Summary, read_summary
from spillover.sources.em_generalization.tree import RunFiles, Tree
from spillover.sources.evidence import Kind, QuestionFile, ScoredBy, kind_of, read_questions, witness
from spillover.sources.imported import AskedIds, SourceFile
from spillover.sources.judged_csv import CODES, Survey, survey
from spillover.store import Artefact, Tick

MOSTLY = 0.9  # share of integers from which a metric's scores are no plain fractions any more
Found = TypeVar("Found")


@dataclass
class Import:
    """The artefacts that a tree becomes, one by one, and what was refused on the way."""

    tree: Tree
    refused: list[Rejected] = field(default_factory=list)
    questions: list[QuestionFile] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refused += self.tree.refused
        read = [self._read(path, read_questions) for path in self.tree.questions]
        self.questions += [one for one in read if one is not None]

    def __len__(self) -> int:
        tree = self.tree
        return len(tree.runs) + len(tree.geometry) + len(tree.cross_validation) + len(tree.tables)

    def artefacts(self, tick: Tick = lambda share: None) -> Iterator[Artefact]:
        """One artefact after the other; a file is read when its turn comes. `tick` hears the share of that file."""
        for files in self.tree.runs:
            run = self.run(files, tick)
            if run is not None:
                yield run
        for place, path in self.tree.geometry:
            yield PublishedGeometry(name=place, file=SourceFile.at(path))
        for fold, path in self.tree.cross_validation:
            yield PublishedCrossValidation(name=fold, file=SourceFile.at(path))
        for path in self.tree.tables:
            yield PublishedTable(name=path.stem, file=SourceFile.at(path))

    def run(self, files: RunFiles, tick: Tick = lambda share: None) -> PublishedRun | None:
        """The artefact of one run from those of its files that can be read; None where none can."""
        counted = self._read(files.answers, lambda path: survey(path, tick))
        published = self._read(files.summary, read_summary)
        if counted is None and published is None:
            return None
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
            answers=SourceFile.at(files.answers) if counted is not None and files.answers else None,
            published=SourceFile.at(files.summary) if published is not None and files.summary else None,
            steps=published.steps[-1]["step"] if published is not None and published.steps else 0,
            judged_by=by,
            asked=AskedIds.of(ids),
            scored=metrics,
            codes=tuple(name for name in columns if name not in metrics),
            prompting=_prompting(counted),
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


def _kind(counted: Survey | None, published: Summary | None) -> Kind:
    """What the scores are, from the answers where they are there, else from the means."""
    if counted is not None:
        shares = [counted.whole[name] / counted.scored[name] for name in counted.metrics if counted.scored[name]]
        if any(MOSTLY <= share < 1 for share in shares):
            return "mixed"
        return kind_of(share == 1 for share in shares)
    if published is None:
        return "none"
    return kind_of(published.whole(name) for name in published.metrics if name not in CODES)


def _prompting(counted: Survey | None) -> str:
    ways: Sequence[str] = tuple(counted.prompted) if counted is not None else ()
    return ways[0] if len(ways) == 1 else "unknown" if not ways else " and ".join(sorted(ways))
