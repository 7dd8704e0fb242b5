"""`spillover import`: results that others published into a store. Knows no file format; says what came of each file.

Exit codes: 0 all was imported whole; 1 a file or a row could not be read, the others are imported; 2 nothing was.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillover.interactive.progress import shown
from spillover.interactive.text import duration, one_line

if TYPE_CHECKING:
    from spillover.engines.listener import ProgressListener
    from spillover.judgements.tables.row_reader import Rejected
    from spillover.papers.em_generalization.importing import Import
    from spillover.store import Artefact, Store

LISTED = 20  # refused files, malformed rows and files left aside that are named one by one
READ, WRITTEN = 0.4, 0.6  # shares of a piece's time


@dataclass
class ImportTally:
    """What an import did so far."""

    kinds: Counter[str] = field(default_factory=Counter)  # artefacts by kind
    new: int = 0
    answers: int = 0
    answered: int = 0  # sets with answers
    judges: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)  # cells without a score, by column
    refused: Counter[str] = field(default_factory=Counter)  # cells with something that is no score
    unreadable: list[str] = field(default_factory=list)  # kinds of cells that are no score, where first seen
    left_out: Counter[str] = field(default_factory=Counter)  # columns of files with answers

    def add(self, artefact: Artefact, facts: dict[str, Any], new: bool) -> None:
        """Count one artefact."""
        from spillover.judgements.tables.judged_file import NOT_SCORED

        self.kinds[artefact.kind] += 1
        self.new += new
        judged_by = getattr(artefact, "judged_by", None)
        if judged_by is not None:
            self.judges[judged_by.summary()] += 1
            self.conflicts.update([text] if (text := judged_by.conflict()) else [])
        if "answers" in facts:
            self.answered += 1
            self.answers += facts["answers"]
            self.left_out.update(facts["left_out"])
            for name, why in facts["missing"].items():
                empty = why.get(NOT_SCORED, 0)
                self.unscored[name] += empty
                self.refused[name] += sum(why.values()) - empty
            self.unreadable += [
                f"{one['file']}, line {one['line']}: {one['column']} is {one['why']}"
                for one in facts.get("unreadable", [])
            ]


def import_em_generalization(path: Path, root: Path) -> bool:
    """Import the release below `path`; whether every file of it could be read whole."""
    from spillover.papers.em_generalization.importing import Import
    from spillover.papers.em_generalization.tree import scan
    from spillover.store import open_store

    tree = scan(path)
    tally, store, began = ImportTally(), open_store(root), time.monotonic()
    with shown() as listener:
        listener.begin(f"import {len(tree.runs)} runs and other results of {tree.root}")
        plan = Import(tree)
        _go(plan, store, tally, listener)
        listener.end(f"import of {tree.root}", time.monotonic() - began, True)
    for text, count in tally.conflicts.most_common():
        _say(f"judge in doubt ({count} runs): {text}")
    aside = [f"{tree.within(one)} is of no kind that the release has" for one in tree.aside]
    _list("left aside: ", aside)
    return _end(tally, plan.refused, plan.malformed, plan.rows, store, began)


def import_betley(files: Sequence[Path], root: Path, judge: str | None) -> bool:
    """Import CSV files of judged answers; whether all could be read whole."""
    from spillover.importers.betley import betley_answers
    from spillover.judgements.tables.row_reader import Rejected
    from spillover.store import open_store

    tally, store, began = ImportTally(), open_store(root), time.monotonic()
    refused: list[Rejected] = []
    malformed: list[Rejected] = []
    rows = 0
    clock = Clock([_size(path) for path in files])
    with shown() as listener:
        listener.begin(f"import {len(files)} file{'s' * (len(files) != 1)} of judged answers")
        for index, path in enumerate(files):
            progress = clock.of(index, listener)
            try:
                if not path.is_file():
                    raise ValueError(f"{path} is {'a folder: name CSV files' if path.is_dir() else 'not there'}")
                artefact, counted = betley_answers(path.absolute(), judge, lambda share, go=progress: go(share * READ))  # type: ignore[misc]
                malformed += counted.rejected
                rows += counted.malformed
                _make(artefact, store, tally, lambda share, go=progress: go(READ + share * WRITTEN))  # type: ignore[misc]
            except ValueError as error:
                refused.append(Rejected(str(path), 0, str(error)))
        listener.end("import", time.monotonic() - began, True)
    if not judge:
        _say("judge: unknown; say it with --judge, so that analyses can refuse to mix judges")
    for text, count in tally.conflicts.items():
        _say(f"judge in doubt ({count} files): {text}")
    return _end(tally, refused, malformed, rows, store, began)


class Clock:
    """From the share done of one piece to that of all, by bytes, and the time left."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = [size + 1 for size in sizes]
        self.began = time.monotonic()

    def of(self, index: int, listener: ProgressListener) -> Callable[[float], None]:
        """What hears the share done of piece `index`."""
        before, total = sum(self.sizes[:index]), sum(self.sizes)

        def progress(share: float) -> None:
            done = (before + share * self.sizes[index]) / total
            left = (time.monotonic() - self.began) * (1 - done) / done if done > 0.02 else float("nan")
            listener.progress(done, left)

        return progress


def _go(plan: Import, store: Store, tally: ImportTally, listener: ProgressListener) -> None:
    pieces = plan.pieces()
    clock = Clock([piece.size for piece in pieces])
    for index, piece in enumerate(pieces):
        progress = clock.of(index, listener)
        try:
            artefact = piece.build(lambda share, go=progress: go(share * READ))  # type: ignore[misc]
            if artefact is not None:
                _make(artefact, store, tally, lambda share, go=progress: go(READ + share * WRITTEN))  # type: ignore[misc]
        except ValueError as error:
            plan.refuse(piece.paths[0], error)


def _make(artefact: Artefact, store: Store, tally: ImportTally, progress: Callable[[float], None]) -> None:
    new = store.make(artefact, progress)
    tally.add(artefact, store.manifest(artefact)["facts"], new)


def _end(
    tally: ImportTally,
    refused: Sequence[Rejected],
    malformed: Sequence[Rejected],
    rows: int,
    store: Store,
    began: float,
) -> bool:
    _list("malformed row: ", [f"{row.file}, line {row.line}: {row.why}" for row in malformed], rows)
    if rows:
        _say("malformed rows are kept as they stood in rejected.parquet, beside the answers of their file")
    _list("not imported: ", [row.why if row.file in row.why else f"{row.file}: {row.why}" for row in refused])
    total = tally.kinds.total()
    if not total:
        raise ValueError(f"nothing could be imported ({len(refused)} files refused, as said above)")
    if tally.left_out:
        _say("columns not kept: " + ", ".join(f"{name} ({count} files)" for name, count in tally.left_out.items()))
    _list("no score: ", [f"{line} (the first such cell there)" for line in tally.unreadable])
    for name, count in tally.unscored.items():
        for number, what in (
            (count, "have no score in the files"),
            (tally.refused[name], "have something that is no score"),
        ):
            if number:
                _say(f"{name}: {number:,} of {tally.answers:,} answers {what}")
    for judge, count in tally.judges.most_common():
        _say(f"judged by {judge}: {count}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in tally.kinds.items()) or "nothing"
    print(one_line(f"imported {kinds}: {tally.answers:,} answers in {tally.answered} of them"))
    print(one_line(f"{tally.new} new, {total - tally.new} there already, in {store.root}"))
    wrong = f"{rows:,} malformed rows, {len(refused)} files not imported"
    print(one_line(f"{wrong}; {duration(time.monotonic() - began)}"))
    return not (refused or rows)


def _list(head: str, lines: Sequence[str], total: int = 0) -> None:
    for line in lines[:LISTED]:
        _say(head + line)
    more = max(total, len(lines)) - len(lines[:LISTED])
    if more:
        _say(f"{head}{more:,} more")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
