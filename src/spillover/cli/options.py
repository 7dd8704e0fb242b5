"""Options that several commands take, and commands whose options are known only when they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spillover.cli.chat_options import CHAT_OPTIONS
from spillover.cli.errors import clear_errors
from spillover.cli.parameters import option
from spillover.cli.reading_options import READING_OPTIONS, SWITCHES
from spillover.cli.sampling_options import SAMPLING_OPTIONS

STORE = Path("store")
StoreOption = Annotated[Path, typer.Option("--store", envvar="SPILLOVER_STORE", help="Folder of finished artefacts.")]


PLAN = typer.Option("--plan", help="Show what would be made and how long it takes; make nothing.")
ENGINE = typer.Option(help="here: this process; ray: tasks of a Ray cluster (pip install 'spillover[ray]').")
ADDRESS = typer.Option(help="Of the Ray cluster; auto: the one on this machine. None: one is started.")
GPUS = typer.Option(help="GPUs that each task of Ray with a network takes; 0.5: two share one.")
OUT = typer.Option(help="Folder the report is copied to: report, or one of its own where that is another study's.")
TAG = typer.Option(help="A name for the study: its report goes to reports/TAG; ls --tag, show TAG.")
QUIET = typer.Option("--quiet", help="No notes, no progress: the report's place and errors alone.")
OWN_OPTIONS = (
    option("store", StoreOption, STORE),
    option("out", Annotated[Path | None, OUT], None),
    option("tag", Annotated[str | None, TAG], None),
    option("plan", Annotated[bool, PLAN], False),
    option("quiet", Annotated[bool, QUIET], False),
    option("engine", Annotated[str, ENGINE], "here"),
    option("address", Annotated[str | None, ADDRESS], None),
    option("task_cpus", Annotated[float, typer.Option(help="Cores that each task of Ray takes.")], 1.0),
    option("task_gpus", Annotated[float, GPUS], 0.0),
)
RUN_OPTIONS = (*OWN_OPTIONS, *READING_OPTIONS, *CHAT_OPTIONS, *SAMPLING_OPTIONS)
RUN_SWITCHES = ("plan", "quiet", *SWITCHES)  # without a value


def command_with(
    function: Callable[..., None], options: Sequence[inspect.Parameter], help: str, example: str | None = None
) -> typer.Typer:
    """A command of its own that calls the function with what the user gives for these options, by name."""
    command: Any = clear_errors(function)
    command.__signature__ = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}
    del command.__wrapped__  # or its signature would be found instead
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=help, epilog=example)(command)
    return app
