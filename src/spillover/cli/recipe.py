"""A recipe file as a command: its `recipe(...)` function's parameters become options."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer

from spillover.cli.options import RUN_OPTIONS
from spillover.cli.parameters import option
from spillover.regular_files import absolute
from spillover.spec import Spec, at_most, did_you_mean
from spillover.store import Artefact

Result = TypeVar("Result")
MOST_PARTS = 100_000  # that a recipe may build: what is planned in a minute or so
RESERVED = {"help", *(option.name for option in RUN_OPTIONS)}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a recipe: what may be given for it, whether several times, its default, its help."""

    name: str
    type: Any
    many: bool  # a tuple: the option may come again and again, or hold a list with commas
    default: object  # inspect.Parameter.empty where the recipe has none
    help: str

    def option(self) -> inspect.Parameter:
        """The parameter of the command that stands for it."""
        flags = [] if self.type is bool else [f"--{self.name.replace('_', '-')}"]
        metavar = f"<{self.type.__name__},...>" if self.many else None
        shown = typer.Option(*flags, help=self.help, metavar=metavar)
        kind = list[str] if self.many else self.type
        default = list(map(str, self.default)) if self.many and isinstance(self.default, tuple) else self.default
        return option(self.name, Annotated[kind, shown], default)

    def value(self, given: Any) -> Any:
        """What the recipe is handed for what the user gave."""
        if not self.many or given is None:
            return given
        if not given and self.default is None:
            return None  # not given at all; an empty word is an empty tuple
        words = [word.strip() for text in given for word in text.split(",") if word.strip()]
        try:
            return tuple(self.type(word) for word in words)
        except ValueError:
            wanted = self.type.__name__
            raise ValueError(f"--{self.name.replace('_', '-')} takes {wanted}s, got {', '.join(words)}") from None


@dataclass(frozen=True)
class Recipe:
    """A recipe file, loaded."""

    path: Path
    function: Callable[..., object]
    parameters: tuple[Parameter, ...]

    @property
    def help(self) -> str:
        """The first paragraph of the function's docstring, else the file's."""
        doc = inspect.getdoc(self.function) or inspect.getdoc(sys.modules[self.function.__module__]) or ""
        return doc.split("\n\n")[0]

    def study(self, chosen: Mapping[str, object]) -> Artefact:
        """The study that the recipe makes of the parameters given."""
        values = {parameter.name: parameter.value(chosen[parameter.name]) for parameter in self.parameters}
        with at_most(MOST_PARTS, f"{self.path.name} makes a larger study than can be planned; fewer --seeds, say?"):
            study = _guarded(self.path, lambda: self.function(**values))
        if not isinstance(study, Artefact):
            came = study.kind if isinstance(study, Spec) else type(study).__name__
            raise ValueError(f"{self.path}: recipe() returns one artefact (a report, say), got {came}")
        return study


def packaged() -> dict[str, Path]:
    """The recipes that come with the package, by the names they are run by."""
    files = sorted((Path(__file__).parents[1] / "recipes").glob("[a-z]*.py"))
    return {path.stem.replace("_", "-"): path for path in files}


def recipe_file(word: str) -> Path:
    """The file of the recipe that a user names: one that comes with the package, or a path."""
    return packaged().get(word.replace("_", "-"), Path(word))


def first_line(path: Path) -> str:
    """What a recipe says of itself, in a line; read, not run."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def load_recipe(path: Path) -> Recipe:
    """Load a recipe; files beside it can be imported by it. A ValueError says what is wrong with it."""
    absolute(path)  # a path at all, and no pipe
    if not path.is_file():
        raise ValueError(f"no recipe {path}; {_near(path)}")
    name = f"spillover_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file; a recipe is one with a function recipe()")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    _guarded(path, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    function = getattr(module, "recipe", None)
    if not inspect.isfunction(function):
        raise ValueError(f"{path} has no function recipe(); `spillover new recipe NAME` writes one to start from")
    return Recipe(path, function, _parameters(path, function))


def _parameters(path: Path, function: Callable[..., object]) -> tuple[Parameter, ...]:
    hints = _guarded(path, lambda: typing.get_type_hints(function, include_extras=True))
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in RESERVED:
            raise ValueError(f"{path}: recipe() has a parameter {name!r}, which `spillover run` needs for itself")
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise ValueError(f"{path}: recipe() takes *{name}; name its parameters, so that they can be options")
        parameters.append(_parameter(path, name, hints.get(name, str), parameter.default))
    return tuple(parameters)


def _parameter(path: Path, name: str, hint: Any, default: object) -> Parameter:
    help = ""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        help = next((note for note in notes if isinstance(note, str)), "")
    inner = _without_none(hint)
    if get_origin(inner) is tuple and len(get_args(inner)) == 2 and get_args(inner)[1] is Ellipsis:
        if get_args(inner)[0] in (str, int, float):
            return Parameter(name, get_args(inner)[0], True, default, help)
    elif inner in (str, int, float, bool, Path) or get_origin(inner) is Literal:
        return Parameter(name, hint, False, default, help)
    raise ValueError(
        f"{path}: recipe()'s parameter {name!r} is {hint}; an option can be str, int, float, bool, Path, a Literal, "
        f"a tuple[str, ...] of one of the first three, or one of them | None"
    )


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [item for item in get_args(hint) if item is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _guarded(path: Path, action: Callable[[], Result]) -> Result:
    """What `action` gives; a mistake in the recipe's own Python becomes a ValueError that names the line."""
    try:
        return action()
    except (ValueError, OSError, KeyboardInterrupt, MemoryError) as error:
        raise error
    except SyntaxError as error:
        at = f", line {error.lineno}" if error.lineno else ""
        raise ValueError(f"{error.filename or path}{at}: {error.msg}") from error
    except BaseException as error:  # sys.exit() too, which would end all without a word
        here = os.path.realpath(path)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == here]
        at = f", line {lines[-1]}" if lines else ""
        if isinstance(error, SystemExit):
            given = "" if error.code is None else f"{error.code!r:.80}"
            raise ValueError(f"{path}{at}: sys.exit({given}) ended the recipe before it gave a study") from error
        raise ValueError(f"{path}{at}: {type(error).__name__}: {error}") from error


def _near(path: Path) -> str:
    names = list(packaged())
    with contextlib.suppress(OSError):
        names += [str(file) for file in sorted(path.parent.glob("*.py"))]
    there_are = f"there are {', '.join(names[:8])}; `spillover new recipe NAME` writes one to start from"
    return did_you_mean(str(path), names) or there_are
