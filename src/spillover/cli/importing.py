"""`spillover import NAME PATH...`: a command for every importer that is found; says what came of each file.

Exit codes: 0 all was imported whole; 1 a file or a row could not be read, the others are imported; 2 nothing was.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from spillover.cli.options import STORE, StoreOption, command_with
from spillover.cli.parameters import option
from spillover.interactive.progress import shown
from spillover.interactive.text import duration, one_line, say
from spillover.store import Store

if TYPE_CHECKING:
    from spillover.importers.importer import Importer

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

    def command(paths: list[Path], store: Path, **chosen: Any) -> None:
        if not import_into(kind(**chosen), paths, store):
            raise typer.Exit(1)

    options = [option("paths", Annotated[list[Path], typer.Argument(metavar="PATH", help=kind.takes)])]
    for name, field_info in kind.model_fields.items():
        flag = typer.Option(f"--{name.replace('_', '-')}", help=field_info.description)
        default = inspect.Parameter.empty if field_info.is_required() else field_info.default
        options.append(option(name, Annotated[field_info.annotation, flag], default))
    options.append(option("store", StoreOption, STORE))
    return command_with(command, options, f"{(kind.__doc__ or '').strip().splitlines()[0]}\n\n{EXIT}")


def import_into(importer: Importer, paths: Sequence[Path], root: Path) -> bool:
    """Import what lies at `paths` into the store at `root`; whether every file of it could be read whole."""
    from spillover.judgements.tables.imported_scores import ImportedScores

    plan = importer.plan(paths)
    store, began = Store.open(root), time.monotonic()
    with shown() as listener:
        listener.begin(f"import {plan.title}")

        def progress(share: float) -> None:
            left = (time.monotonic() - began) * (1 - share) / share if share > 0.02 else float("nan")
            listener.progress(share, left)

        made = list(plan.make(store, progress))
        listener.end(f"import of {plan.title}", time.monotonic() - began, True)
    judges = [artefact.judged_by for artefact, _ in made if isinstance(artefact, ImportedScores)]
    for text, count in Counter(filter(None, (judge.conflict() for judge in judges))).most_common():
        say(f"judge in doubt ({count} sets of answers): {text}")
    _list("", plan.notes)
    _list("malformed row: ", [f"{row.file}, line {row.line}: {row.why}" for row in plan.malformed], plan.malformed_rows)
    if plan.malformed_rows:
        say("malformed rows are kept as they stood in rejected.parquet, beside the answers of their file")
    _list("not imported: ", [row.why if row.file in row.why else f"{row.file}: {row.why}" for row in plan.refused])
    if not made:
        raise ValueError(f"nothing could be imported ({len(plan.refused)} files refused, as said above)")
    facts = [store.manifest(artefact)["facts"] for artefact, _ in made]
    with_answers = [of_artefact for of_artefact in facts if "answers" in of_artefact]
    answers = sum(of_artefact["answers"] for of_artefact in with_answers)
    _tell_cells(with_answers, answers)
    for name, count in Counter(judge.summary() for judge in judges).most_common():
        say(f"judged by {name}: {count}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(artefact.kind for artefact, _ in made).items())
    new = sum(is_new for _, is_new in made)
    print(one_line(f"imported {kinds}: {answers:,} answers in {len(with_answers)} of them"))
    print(one_line(f"{new} new, {len(made) - new} there already, in {store.root}"))
    wrong = f"{plan.malformed_rows:,} malformed rows, {len(plan.refused)} files not imported"
    print(one_line(f"{wrong}; {duration(time.monotonic() - began)}"))
    return not (plan.refused or plan.malformed_rows)


def _tell_cells(facts: Sequence[Mapping[str, Any]], answers: int) -> None:
    """Say which columns and cells of files with answers gave no score."""
    from spillover.judgements.tables.judged_columns import NOT_SCORED

    left_out = Counter(name for of_file in facts for name in of_file["left_out"])
    if left_out:
        say("columns not kept: " + ", ".join(f"{name} ({count} files)" for name, count in left_out.items()))
    unreadable = [cell for of_file in facts for cell in of_file["unreadable"]]
    where = "no score: {file}, line {line}: {column} is {why} (the first such cell there)"
    _list("", [where.format(**cell) for cell in unreadable])
    empty, no_score = Counter[str](), Counter[str]()
    for of_file in facts:
        for name, reasons in of_file["missing"].items():
            empty[name] += reasons.get(NOT_SCORED, 0)
            no_score[name] += sum(reasons.values()) - reasons.get(NOT_SCORED, 0)
    for name in empty:
        for count, what in ((empty[name], "no score in the files"), (no_score[name], "something that is no score")):
            if count:
                say(f"{name}: {count:,} of {answers:,} answers have {what}")


def _list(head: str, lines: Sequence[str], total: int = 0) -> None:
    for line in lines[:LISTED]:
        say(head + line)
    more = max(total, len(lines)) - len(lines[:LISTED])
    if more:
        say(f"{head}{more:,} more")
