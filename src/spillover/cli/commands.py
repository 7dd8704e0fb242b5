"""The commands, each a few lines that hand over to its own module. Knows their options; imports nothing heavy."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from spillover.cli.errors import clear_errors
from spillover.cli.text import one_line

app = typer.Typer(
    name="spillover",
    help="How far narrow fine-tuning spills over into broad misalignment, and what shapes it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
AS_IT_COMES = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@app.command(context_settings=AS_IT_COMES)
@clear_errors
def run(context: typer.Context) -> None:
    """Make the study that a recipe describes, and its report."""
    from spillover.cli.running import run_with

    run_with(context.args)


@app.callback()
def options() -> None:
    """How far narrow fine-tuning spills over into broad misalignment, and what shapes it."""


def main() -> None:
    """The `spillover` command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    warnings.showwarning = _warn  # type: ignore[assignment]
    app()


def _warn(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> None:
    if "site-packages" not in filename:  # what other libraries say to their programmers is not for the user
        print(f"note: {one_line(str(message))}", file=sys.stderr)
