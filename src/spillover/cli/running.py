"""`spillover run`: from a recipe to its report. Knows recipes, the engine, and where the report goes."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spillover.cli.errors import clear_errors
from spillover.cli.recipe import first_line, load_recipe, packaged, recipe_file
from spillover.manifest import MANIFEST
from spillover.store import Store

GENERAL = """Make the study that a recipe describes: what is not there yet, and nothing twice. The same command goes on
where a stopped one was.

RECIPE is one that comes with spillover, by its name, or a Python file with a function recipe(); its parameters become
options: `spillover run RECIPE --help`. `spillover new recipe NAME --from RECIPE` writes a copy to edit."""
StoreOption = Annotated[Path, typer.Option("--store", envvar="SPILLOVER_STORE", help="Folder of finished artefacts.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder the report is copied to.")]
PlanOption = Annotated[
    bool, typer.Option("--plan", help="Show what would be made and how long it takes; make nothing.")
]
EngineOption = Annotated[
    str,
    typer.Option("--engine", help="here: this process; ray: tasks of a Ray cluster (pip install 'spillover[ray]')."),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Of the Ray cluster; auto: the one on this machine. None: one is started."),
]
CpusOption = Annotated[float, typer.Option("--task-cpus", help="Cores that each task of Ray takes.")]
GpusOption = Annotated[
    float, typer.Option("--task-gpus", help="GPUs that each task of Ray with a network takes; 0.5: two share one.")
]
OURS = (
    ("store", Path("store"), StoreOption),
    ("out", Path("report"), OutOption),
    ("plan", False, PlanOption),
    ("engine", "here", EngineOption),
    ("address", None, AddressOption),
    ("task_cpus", 1.0, CpusOption),
    ("task_gpus", 0.0, GpusOption),
)


def run_with(words: Sequence[str]) -> None:
    """`spillover run WORDS`."""
    words = list(words)
    at = _recipe_at(words)
    if at is None:
        _general(words)
        return
    word = words.pop(at)
    _command(recipe_file(word))(words, prog_name=f"spillover run {word}")


def make_study(study: Any, store: Path, out: Path, only_plan: bool, run: Any = None) -> None:
    """Make the study in the store, copy its folder to `out` and print where; or show the plan.

    run: an engine's (study, store, show) -> folder; this process where none is given.
    """
    from spillover.cli.planning import show_plan
    from spillover.interactive.progress import shown
    from spillover.organisms.process_group import dismiss, follow, rank

    if rank():  # started by a launcher, to help with trainings
        if not only_plan:
            follow()
        return
    if only_plan:
        show_plan(study, Store(store.expanduser().absolute()))
        return
    _check_out(out)
    opened = Store.open(store)
    with shown() as listener:
        folder = (run or _here())(study, opened, listener)
    dismiss()  # not after an error: the launcher ends those who wait
    with opened.lock(study):  # one process at a time, if several run the same study
        _copy(folder, out)
    page = out / "index.html"
    print(page if page.is_file() else out)


def _here() -> Any:
    from spillover.engines.local import run

    return run


def _engine(name: str, address: str | None, cpus: float, gpus: float) -> Any:
    """The engine that a user names, ready to run."""
    if name == "here":
        if address is not None:
            raise ValueError("--address is that of a Ray cluster: give --engine ray with it")
        return _here()
    if name != "ray":
        raise ValueError(f"no engine {name!r}: there are here (this process) and ray (a cluster of Ray)")
    from spillover.engines.cluster import Share, run

    return functools.partial(run, address=address, share=Share(cpus, gpus))


def _recipe_at(words: Sequence[str]) -> int | None:
    """Where among the words the recipe stands: the first that is neither an option nor the value of one of ours."""
    at = 0
    while at < len(words):
        if words[at] in ("--store", "--out", "--engine", "--address", "--task-cpus", "--task-gpus"):
            at += 1
        elif not words[at].startswith("-"):
            return at
        at += 1
    return None


def _general(words: Sequence[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    recipes = "\n".join(f"  {name:<16}{first_line(path)}" for name, path in packaged().items())

    @app.command(help=f"{GENERAL}\n\n\b\nRecipes that come with spillover:\n{recipes}")
    def run(
        recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or a Python file.")],
        store: StoreOption = Path("store"),
        out: OutOption = Path("report"),
        plan: PlanOption = False,
        engine: EngineOption = "here",
        address: AddressOption = None,
        task_cpus: CpusOption = 1.0,
        task_gpus: GpusOption = 0.0,
    ) -> None:
        raise AssertionError("without a recipe there is nothing to run")

    app(list(words) or ["--help"], prog_name="spillover run")


def _command(path: Path) -> typer.Typer:
    recipe = load_recipe(path)

    @clear_errors
    def study(
        store: Path,
        out: Path,
        plan: bool,
        engine: str,
        address: str | None,
        task_cpus: float,
        task_gpus: float,
        **chosen: Any,
    ) -> None:
        run = _engine(engine, address, task_cpus, task_gpus)
        make_study(recipe.study(chosen), store, out, plan, run)

    ours = [option(name, annotation, default) for name, default, annotation in OURS]
    return command_with(study, [*(parameter.option() for parameter in recipe.parameters), *ours], recipe.help)


def option(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command; without a default the user has to give it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def command_with(function: Any, options: Sequence[inspect.Parameter], help: str) -> typer.Typer:
    """A command of its own that calls a function (made clear by `clear_errors`) with these options."""
    function.__signature__ = inspect.Signature(options)
    function.__annotations__ = {option.name: option.annotation for option in options}
    del function.__wrapped__  # or its signature would be found instead
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(help=help)(function)
    return app


def _check_out(out: Path) -> None:
    """Refuse, before anything is made, a place where the report cannot go or where other files would be lost."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; the report is a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise ValueError(f"--out {out} holds files that are not a report of spillover's: give another folder")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=parent, prefix=".spillover-").cleanup()
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written ({error.strerror}): give another folder") from None


def _copy(folder: Path, out: Path) -> None:
    """Put a copy of `folder` at `out`, whole or not at all; a report that stood there goes."""
    target = out.absolute()
    fresh, old = (target.with_name(f".{target.name}-{word}") for word in ("new", "old"))
    for left in (fresh, old):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        shutil.copytree(folder, fresh)
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
