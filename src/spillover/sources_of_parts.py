"""The source of the parts that an artefact is made by: a digest of each, so that an edit is told."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Mapping

from spillover.spec import Spec

DIGITS = 16


def part_sources(artefact: Spec, ends: type[Spec]) -> dict[str, str]:
    """Digest of the source of every kind in an artefact, by kind; what lies in parts of the type `ends` is theirs."""
    kinds: dict[str, str] = {}

    def visit(part: Spec) -> None:
        if (digest := source_digest(type(part))) is not None:
            kinds[part.kind] = digest
        for child in part.children():
            if not isinstance(child, ends):
                visit(child)

    visit(artefact)
    return dict(sorted(kinds.items()))


def changed_parts(artefact: Spec, ends: type[Spec], recorded: object) -> list[str]:
    """Kinds in an artefact whose source is another than when it was made; none where nothing was recorded."""
    before = recorded if isinstance(recorded, Mapping) else {}
    now = part_sources(artefact, ends)
    return [kind for kind, digest in now.items() if kind in before and before[kind] != digest]


@functools.cache
def source_digest(kind: type[Spec]) -> str | None:
    """Digest of the module that defines a kind, without comments and docstrings; None where it has no source."""
    try:
        tree = ast.parse(_source(inspect.getsourcefile(kind) or ""))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return hashlib.sha256(ast.unparse(tree).encode("utf-8", "replace")).hexdigest()[:DIGITS]


def _source(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
