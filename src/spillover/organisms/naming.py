"""The names people type for parts: `CosineRestarts` is `cosine-restarts`. Knows no schedule and no dataset."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TypeVar

P = TypeVar("P")


def typed_name(kind: str) -> str:
    """A kind's name in small letters, its words joined by hyphens."""
    return "-".join(re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z][a-z]*\d*|[a-z]+\d*|\d+", kind)).lower()


def named(what: str, name: str, known: Mapping[str, P], besides: str = "") -> P:
    """The part of that name, whatever its case and whether `-`, `_` or a space joins it; else a ValueError.

    `besides` says what else a user could have given, for the message.
    """
    asked = re.sub(r"[\s_]+", "-", name.strip()).lower()
    if asked in known:
        return known[asked]
    near = difflib.get_close_matches(asked, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(f"no {what} is called {name!r}; {hint}known: {', '.join(sorted(known))}{besides}")
