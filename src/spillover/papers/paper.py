"""A paper whose published numbers can be computed anew from its released files: a part, found in papers/*/."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from spillover.analyses.rows import TableRow
from spillover.papers.cells import Cell
from spillover.spec import Spec, kinds_of, part_named

if TYPE_CHECKING:
    from spillover.analyses.blocks import Figure
    from spillover.judgements.tables.row_reader import Rejected

T = TypeVar("T")
StageProgress = Callable[[str, float], None]  # what is being done, and the share of it that is


@dataclass(frozen=True)
class PaperPart:
    """A group of published numbers, whose cells' names begin with its own: what a section of the page says of them.

    tables: by name, beside the table of its cells. figures: drawn from these.
    """

    title: str
    description: str
    tables: Mapping[str, list[TableRow]] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()


@dataclass
class Reproduction:
    """Every published number of a paper against ours.

    about: one sentence on the paper. cells: in the order of cells.csv. parts: by name, in no order. counts: what was
    read, in words, and how much of it. problems: files, or lines of them, that could not be read, and why.
    """

    title: str
    about: str
    cells: list[Cell]
    parts: Mapping[str, PaperPart]
    counts: Mapping[str, int]
    problems: list[Rejected]


class Paper(Spec):
    """A paper whose published numbers can be computed anew from its released files.

    Subclass it in a folder of its own, with `name` and `help` for the command line; it is found by itself.
    """

    name: ClassVar[str]  # typed after `spillover reproduce`
    help: ClassVar[str]  # one line: which paper, and where its files are

    @abstractmethod
    def reproduce(self, path: Path, progress: StageProgress = lambda stage, share: None) -> Reproduction:
        """Compute the numbers that the files below `path` hold; ValueError where they are no release of the paper."""

    def summary(self) -> str:
        return self.help


def papers() -> dict[str, Paper]:
    """Every paper by its name."""
    return {paper.name: paper for kind in kinds_of(Paper).values() if isinstance(paper := kind(), Paper)}


def paper_named(name: str) -> Paper:
    """The paper of that name; a ValueError that lists those there are."""
    return part_named("paper", name, papers())


def with_progress(stage: str, items: Sequence[T], progress: StageProgress) -> Iterator[T]:
    """The items one by one; `progress` hears of each before it is used."""
    for index, item in enumerate(items):
        progress(stage, index / len(items))
        yield item
