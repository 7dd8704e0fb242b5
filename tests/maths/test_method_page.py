"""docs/method.md names modules and functions that exist; each section or mistake that a docstring cites is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "method.md").read_text()
ROOMS = ("maths", "analyses", "organisms", "models", "responses", "judgements")


def exists(name: str) -> bool:
    """Whether a dotted name is a module of the package, or something in one."""
    try:
        importlib.import_module(f"spillover.{name}")
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return bool(module) and hasattr(importlib.import_module(f"spillover.{module}"), attribute)
    return True


def test_what_the_page_names_exists() -> None:
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)`", PAGE)
    inside = [name if name.split(".")[0] in ROOMS else f"maths.{name}" for name in names if not name.endswith(".csv")]
    assert len(inside) > 40
    assert [name for name in inside if not exists(name)] == []


def test_what_docstrings_cite_is_on_the_page() -> None:
    sections = set(re.findall(r"^#+ (\d[ab]?)\. ", PAGE, re.MULTILINE))
    mistakes = set(re.findall(r"^(\d)\. ", PAGE[PAGE.index("## Mistakes") :], re.MULTILINE))
    cited = [
        (path, kind, number)
        for path in (ROOT / "src").rglob("*.py")
        for kind, number in re.findall(r"method\.md, (section|mistake) (\w+)", path.read_text())
    ]
    assert len(cited) > 15
    known = {"section": sections, "mistake": mistakes}
    assert [cite for cite in cited if cite[2] not in known[cite[1]]] == []
