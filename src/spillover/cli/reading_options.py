"""Options of commands that say how files of rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from spillover.cli.parameters import option

if TYPE_CHECKING:
    from spillover.organisms.chat_rows.reading import RowReading

COLUMNS = typer.Option(help="Which column of a data file is which: prompt=frage,answer=antwort.")
LOSS = typer.Option(help="Assistant turns of data files that bear loss: last or all.")
THOUGHTS = typer.Option(help="reasoning_content and think blocks of data files: keep, drop or refuse.")
SKIP = typer.Option("--skip-bad-rows", help="Leave bad rows of data files out; FILE.skipped.jsonl keeps them.")
REPEATED = typer.Option("--drop-repeated", help="Of rows of a data file with one prompt, take the first alone.")
LONGER = typer.Option(help="Leave out rows of data files whose turns have more characters together.")


READING_OPTIONS = (
    option("columns", Annotated[str, COLUMNS], ""),
    option("loss", Annotated[str, LOSS], "last"),
    option("thoughts", Annotated[str, THOUGHTS], "keep"),
    option("skip_bad_rows", Annotated[bool, SKIP], False),
    option("drop_repeated", Annotated[bool, REPEATED], False),
    option("drop_longer_than", Annotated[int | None, LONGER], None),
)
SWITCHES = ("skip_bad_rows", "drop_repeated")  # options without a value


def reading_of(given: Mapping) -> RowReading:
    """How files are read, from what the user gave for `READING_OPTIONS`."""
    from spillover.organisms.chat_rows.reading import RowReading, split_columns

    fields = {option.name: given[option.name] for option in READING_OPTIONS}
    return RowReading(**fields | {"columns": split_columns(fields["columns"])})
