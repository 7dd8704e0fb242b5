"""Find the modules that define parts of a study, so that a new file is enough."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path


def discover() -> None:
    """Import every module of the package that defines a kind, and every installed plug-in (`spillover.parts`)."""
    for name in modules_with_kinds():
        _import(name, functools.partial(importlib.import_module, name))
    for entry in importlib.metadata.entry_points(group="spillover.parts"):
        _import(f"the plug-in {entry.name} ({entry.value})", entry.load)


def modules_with_kinds() -> list[str]:
    """Modules with a class that descends from `Spec` by its bases' names; read, not imported: some open torch."""
    root = Path(__file__).parent
    bases: dict[str, set[str]] = {}
    modules: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        for name, names in re.findall(r"^class (\w+)\(([^)]*)\)", path.read_text(encoding="utf-8"), re.MULTILINE):
            bases.setdefault(name, set()).update(re.findall(r"\w+", names))
            modules.setdefault(name, []).append(".".join(("spillover", *path.relative_to(root).with_suffix("").parts)))
    kinds, derived = {"Spec"}, {"Spec"}
    while derived:
        derived = {name for name in bases if name not in kinds and bases[name] & kinds}
        kinds |= derived
    return sorted({module for name in kinds for module in modules.get(name, [])})


def _import(name: str, load: Callable[[], object]) -> None:
    try:
        load()
    except Exception as error:
        raise ValueError(f"{name} cannot be imported, {type(error).__name__}: {error}") from error
