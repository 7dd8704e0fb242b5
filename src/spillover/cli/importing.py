"""`spillover import NAME PATH...`: a command for every importer that is found; says what came of each file.

Exit codes: 0 all was imported whole; 1 a file or a row could not be read, the others are imported; 2 nothing was.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from spillover.cli.errors import clear_errors
from spillover.cli.running import StoreOption, command_with, option
from spillover.interactive.progress import shown
from spillover.interactive.text import duration, one_line

if TYPE_CHECKING:
    from spillover.importers.importer import Importer, ImportPlan
    from spillover.store import Artefact, Store

LISTED = 20  # refused files, malformed rows and notes that are told one by one
EXIT = "Exit code 1 where a file or a row could not be read; the others are imported all the same."


class ImporterCommands(TyperGroup):
    """The commands of `spillover import`: one an importer, made when it is asked for."""

    def list_commands(self, ctx: object) -> list[str]:
        from spillover.importers.importer import importers

        return sorted(importers())

    def get_command(self, ctx: object, cmd_name: str) -> Any:
        from spillover.importers.importer import importers

        kind = importers().get(cmd_name)
        return typer.main.get_command(_command(kind)) if kind else None


def _command(kind: type[Importer]) -> typer.Typer:
    """The importer as a command: paths, its fields as options, the store."""

    @clear_errors
    def command(paths: list[Path], store: Path, **chosen: Any) -> None:
        if not import_into(kind(**chosen), paths, store):
            raise typer.Exit(1)

    options = [option("paths", Annotated[list[Path], typer.Argument(metavar="PATH", help=kind.takes)])]
    for name, field_info in kind.model_fields.items():
        flag = typer.Option(f"--{name.replace('_', '-')}", help=field_info.description)
        default = inspect.Parameter.empty if field_info.is_required() else field_info.default
        options.append(option(name, Annotated[field_info.annotation, flag], default))
    options.append(option("store", StoreOption, Path("store")))
    return command_with(command, options, f"{(kind.__doc__ or '').strip().splitlines()[0]}\n\n{EXIT}")


@dataclass
class ImportTally:
    """What an import did so far."""

    kinds: Counter[str] = field(default_factory=Counter)  # artefacts by kind
    new: int = 0
    answers: int = 0
    with_answers: int = 0  # artefacts
    judges: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)  # cells without a score, by column
    no_score: Counter[str] = field(default_factory=Counter)  # cells with something that is no score
    unreadable: list[str] = field(default_factory=list)  # kinds of cells that are no score, where first seen
    left_out: Counter[str] = field(default_factory=Counter)  # columns of files with answers

    def add(self, artefact: Artefact, facts: dict[str, Any], new: bool) -> None:
        """Count an artefact, whose manifest has these facts."""
        from spillover.judgements.tables.judged_columns import NOT_SCORED

        self.kinds[artefact.kind] += 1
        self.new += new
        judged_by = getattr(artefact, "judged_by", None)
        if judged_by is not None:
            self.judges[judged_by.summary()] += 1
            self.conflicts.update([text] if (text := judged_by.conflict()) else [])
        if "answers" in facts:
            self.with_answers += 1
            self.answers += facts["answers"]
            self.left_out.update(facts["left_out"])
            for name, reasons in facts["missing"].items():
                empty = reasons.get(NOT_SCORED, 0)
                self.unscored[name] += empty
                self.no_score[name] += sum(reasons.values()) - empty
            self.unreadable += [
                f"{cell['file']}, line {cell['line']}: {cell['column']} is {cell['why']}"
                for cell in facts.get("unreadable", [])
            ]


def import_into(importer: Importer, paths: Sequence[Path], root: Path) -> bool:
    """Import what lies at `paths` into the store at `root`; whether every file of it could be read whole."""
    from spillover.store import Store

    plan = importer.plan(paths)
    tally, store, began = ImportTally(), Store.open(root), time.monotonic()
    with shown() as listener:
        listener.begin(f"import {plan.title}")

        def progress(share: float) -> None:
            left = (time.monotonic() - began) * (1 - share) / share if share > 0.02 else float("nan")
            listener.progress(share, left)

        for artefact, new in plan.make(store, progress):
            tally.add(artefact, store.manifest(artefact)["facts"], new)
        listener.end(f"import of {plan.title}", time.monotonic() - began, True)
    for text, count in tally.conflicts.most_common():
        _say(f"judge in doubt ({count} sets of answers): {text}")
    _list("", plan.notes)
    _tell(plan, tally, store, began)
    return not (plan.refused or plan.malformed_rows)


def _tell(plan: ImportPlan, tally: ImportTally, store: Store, began: float) -> None:
    """Say what could not be read and what came; ValueError where nothing did."""
    malformed = [f"{row.file}, line {row.line}: {row.why}" for row in plan.malformed]
    _list("malformed row: ", malformed, plan.malformed_rows)
    if plan.malformed_rows:
        _say("malformed rows are kept as they stood in rejected.parquet, beside the answers of their file")
    _list("not imported: ", [row.why if row.file in row.why else f"{row.file}: {row.why}" for row in plan.refused])
    total = tally.kinds.total()
    if not total:
        raise ValueError(f"nothing could be imported ({len(plan.refused)} files refused, as said above)")
    if tally.left_out:
        _say("columns not kept: " + ", ".join(f"{name} ({count} files)" for name, count in tally.left_out.items()))
    _list("no score: ", [f"{line} (the first such cell there)" for line in tally.unreadable])
    for name, count in tally.unscored.items():
        for number, what in (
            (count, "have no score in the files"),
            (tally.no_score[name], "have something that is no score"),
        ):
            if number:
                _say(f"{name}: {number:,} of {tally.answers:,} answers {what}")
    for judge, count in tally.judges.most_common():
        _say(f"judged by {judge}: {count}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in tally.kinds.items())
    print(one_line(f"imported {kinds}: {tally.answers:,} answers in {tally.with_answers} of them"))
    print(one_line(f"{tally.new} new, {total - tally.new} there already, in {store.root}"))
    wrong = f"{plan.malformed_rows:,} malformed rows, {len(plan.refused)} files not imported"
    print(one_line(f"{wrong}; {duration(time.monotonic() - began)}"))


def _list(head: str, lines: Sequence[str], total: int = 0) -> None:
    for line in lines[:LISTED]:
        _say(head + line)
    more = max(total, len(lines)) - len(lines[:LISTED])
    if more:
        _say(f"{head}{more:,} more")


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
