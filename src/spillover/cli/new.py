"""`spillover new KIND NAME`: one file from a template, where it is found by itself."""

from __future__ import annotations

import ast
import builtins
import keyword
import os
import re
import sys
from importlib import resources
from pathlib import Path
from string import Template

import spillover
from spillover.cli.recipe import load_recipe, recipe_file
from spillover.spec import Spec, kinds_of, part_named

ROOMS = {
    "schedule": "organisms/schedules",
    "dataset": "organisms/datasets",
    "questions": "responses/questions",
    "judge": "judgements/judges",
    "importer": "importers",
    "analysis": "analyses",
    "recipe": "recipes",
}


def write_new(part: str, name: str, to: Path | None, source: str | None = None) -> None:
    """Write the file and say what to do with it; `source` names a recipe to copy instead of the template."""
    part = part_named("part", part, {room: room for room in ROOMS})
    words = re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*", re.sub(r"[^A-Za-z0-9]+", " ", name))
    module, label = "_".join(words).lower(), "-".join(words).lower()
    kind = "".join(word[:1].upper() + word[1:] for word in words)
    _check(part, name, module, kind)
    folder, found_by_itself = _home(part, to)
    path = folder / f"{module}.py"
    if path.exists():
        raise ValueError(f"{path} is there already: take another name, or edit it")
    content = _content(part, source, {"Kind": kind, "label": label})
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    print(path)
    if part == "recipe":
        print(f"try it: spillover run {path} --plan")
    elif found_by_itself:
        print(f"found by itself from now on as {kind} ({label}); the contract tests hold it to its kind")
    else:
        print(f"lay it beside your recipe and import it there: from {module} import {kind}")


def _content(part: str, source: str | None, words: dict[str, str]) -> str:
    if source is None:
        template = resources.files("spillover.cli").joinpath(f"templates/{part}.template").read_text(encoding="utf-8")
        content = Template(template).substitute(words)
        ast.parse(content)
        return content
    if part != "recipe":
        raise ValueError(f"--from copies a recipe; a new {part} comes from its template")
    return load_recipe(recipe_file(source)).path.read_text(encoding="utf-8")


def _check(part: str, name: str, module: str, kind: str) -> None:
    taken = keyword.iskeyword(module) or module in sys.stdlib_module_names or hasattr(builtins, kind)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]*", name) or not module.isidentifier() or taken:
        raise ValueError(f"{name!r} makes no name for a Python file and class: use letters, as in my-{part}")
    if part == "recipe":
        return
    if kind in kinds_of(Spec):
        raise ValueError(f"there is a {kind} already ({kinds_of(Spec)[kind].__module__}): take another name")


def _home(part: str, to: Path | None) -> tuple[Path, bool]:
    """The folder for the part, and whether a file there is found without an import."""
    package = Path(spillover.__file__).resolve().parent
    checkout = package.parents[1]
    inside = Path.cwd().resolve().is_relative_to(checkout)
    ours = inside and (checkout / "pyproject.toml").is_file() and os.access(package, os.W_OK)
    home = package / ROOMS[part]
    if to is not None:
        return to, to.resolve() == home
    return (home, True) if ours and part != "recipe" else (Path(), False)
