"""Options that several commands take, and commands whose options are known only when they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spillover.cli.errors import clear_errors

STORE = Path("store")
StoreOption = Annotated[Path, typer.Option("--store", envvar="SPILLOVER_STORE", help="Folder of finished artefacts.")]


def option(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command; without a default the user has to give it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def command_with(function: Callable[..., None], options: Sequence[inspect.Parameter], help: str) -> typer.Typer:
    """A command of its own that calls the function with what the user gives for these options, by name."""
    command: Any = clear_errors(function)
    command.__signature__ = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}
    del command.__wrapped__  # or its signature would be found instead
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=help)(command)
    return app
