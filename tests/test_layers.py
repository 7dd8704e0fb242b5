"""The house's own rules: imports point one way, files and functions stay small, names say what is meant."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "src" / "spillover"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each room may import those in the lines above its own, and its own.
ROOMS = (
    ("discovery", "regular_files"),
    ("spec",),
    ("provenance", "manifest", "sources_of_parts"),
    ("store",),
    ("records", "row_files"),
    ("maths",),
    ("models",),
    ("organisms",),
    ("api_client",),
    ("responses",),
    ("judgements",),
    ("activations",),
    ("importers",),
    ("analyses",),
    ("report",),
    ("neighbours",),
    ("papers",),
    ("engines",),
    ("checks",),
    ("interactive",),
    ("recipes",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
HEAVY = ("torch", "transformers", "peft", "sklearn", "scipy", "matplotlib", "pandas", "pyarrow")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("spillover."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            if node.module == "spillover":
                yield from (f"spillover.{alias.name}" for alias in node.names)
            elif (node.module or "").startswith("spillover."):
                yield str(node.module)


def upward(room: str, tree: ast.AST) -> list[str]:
    """Imports that point to a room above, or to a sister."""
    upwards = []
    for name in imported(tree):
        other = name.split(".")[1]
        if other != "__version__" and other != room and LEVEL[other] >= LEVEL[room]:
            upwards.append(name)
    return upwards


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not list(imported(ast.parse(path.read_text())))
        return
    assert room in LEVEL, f"{room} is a room that tests/test_layers.py does not know: say where it stands"
    assert upward(room, ast.parse(path.read_text())) == []


def test_the_test_of_layers_sees_an_import_upwards() -> None:
    lines = ("from spillover.report.page import render", "import spillover.cli", "from spillover import maths")
    hidden = "def f():\n    " + "\n    ".join(lines)
    assert upward("store", ast.parse(hidden)) == ["spillover.report.page", "spillover.cli", "spillover.maths"]
    assert upward("judgements", ast.parse("from spillover.activations.prompts import Prompts"))
    assert not upward("cli", ast.parse(hidden))


def test_files_are_small() -> None:
    rooms = ("src", "tests", "benchmarks", "scripts")
    files = [path for room in rooms for path in sorted((CHECKOUT / room).rglob("*.py"))]
    assert set(FILES) <= set(files)
    long = {str(path.relative_to(CHECKOUT)): n for path in files if (n := len(path.read_text().splitlines())) > 500}
    assert not long


def test_functions_are_small() -> None:
    long = {}
    for path in (path for path in FILES if room_of(path) != "recipes"):  # a study is one list of its parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                long[f"{path.relative_to(CHECKOUT)}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert not long


def test_names_say_what_is_meant() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "tools"}
    everything = [*PACKAGE.rglob("*"), *(CHECKOUT / "tests").rglob("*")]
    assert not [str(path) for path in everything if path.stem.lower() in vague]


def test_every_module_says_what_it_is() -> None:
    assert not [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]


def test_no_place_of_this_machine_is_written_down() -> None:
    places = re.compile(r"(?<![\w.])/(work|root|home|tmp|Users)/\w")
    files = [*FILES, CHECKOUT / "pyproject.toml", CHECKOUT / "Makefile"]
    assert not [str(path) for path in files if places.search(path.read_text())]


def loaded_by(code: str) -> list[str]:
    """Heavy libraries that a fresh Python has loaded after running the code."""
    code += f"; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(ast.literal_eval(done.stdout))


def test_the_command_line_and_the_search_for_parts_load_nothing_heavy() -> None:
    assert loaded_by("import spillover.cli; from spillover.store import Store") == []
    loaded = loaded_by("from spillover.discovery import discover; discover()")
    assert not set(loaded) & {"torch", "transformers", "peft", "sklearn", "matplotlib"}
    assert "scipy" in loaded_by("import scipy")  # or nothing was seen


def test_search_for_parts_sees_every_kind() -> None:
    from spillover.discovery import modules_with_kinds

    assert {"spillover.spec", "spillover.organisms.schedules.standard", "spillover.report.report"} <= set(
        modules_with_kinds()
    )
    opening_torch = [
        path for path in FILES if re.search(r"^(import|from) (torch|transformers)\b", path.read_text(), re.M)
    ]
    names = {".".join(("spillover", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in opening_torch}
    assert not names & set(modules_with_kinds())


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = (path.relative_to(PACKAGE.parent).with_suffix("") for path in FILES)
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in zip(names, FILES, strict=True)}


def imported_modules(tree: ast.AST, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, in functions and for types alone too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inside & known or {node.module} & known
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names} & known
    return names


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules of which each imports the others in the end."""
    reached = {name: set(others) for name, others in imports.items()}
    while True:
        further = {name: others.union(*(reached[other] for other in others)) for name, others in reached.items()}
        if further == reached:
            break
        reached = further
    inside = {name for name, others in reached.items() if name in others}
    return [
        set(circle) for circle in {frozenset(b for b in inside if b in reached[a] and a in reached[b]) for a in inside}
    ]


def test_no_modules_import_one_another_in_a_circle() -> None:
    known = modules()
    imports = {name: imported_modules(ast.parse(path.read_text()), set(known)) - {name} for name, path in known.items()}
    assert circles(imports) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]  # or nothing would be seen


def named_types(tree: ast.Module) -> Iterator[str]:
    """Public classes and type aliases that a file defines."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            variable = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "TypeVar"
            if re.fullmatch(r"[A-Z][a-z]\w*", node.targets[0].id) and not variable:
                yield node.targets[0].id


def test_a_type_name_has_one_meaning() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for name in named_types(ast.parse(path.read_text())):
            homes.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1 and not name.startswith("_")}


def guesses(tree: ast.AST) -> list[str]:
    """Variables and parameters whose name says nothing of what they hold."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    names += [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    return [name for name in names if name in ("found", "one", "it", "thing", "stuff", "said")]


def test_variables_say_what_they_hold() -> None:
    assert guesses(ast.parse("found = [one for one in rows]")) == ["found", "one"]
    assert not {str(path.relative_to(PACKAGE)) for path in FILES if guesses(ast.parse(path.read_text()))}


def test_any_is_rare() -> None:
    names = [node for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)]
    assert sum(node.id == "Any" for node in names) <= 120


def test_no_file_says_what_it_does_not_know() -> None:
    assert not [
        str(path) for path in FILES if re.search(r"\bKnows? (no|only|nothing)\b|\bKnows \w+ and\b", path.read_text())
    ]
