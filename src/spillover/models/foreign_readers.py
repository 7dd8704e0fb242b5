"""Calls of libraries that read what others wrote: whatever they stumble over becomes one clear error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, ImportError)  # nobody's bad file
_IN_WORDS = (ValueError, OSError, RuntimeError)  # kinds whose text says enough by itself


@contextlib.contextmanager
def told_as(what: str) -> Iterator[None]:
    """A ValueError "`what`: the reason" for any error inside, also for the panics of libraries written in Rust, which
    are no `Exception`."""
    try:
        yield
    except _OURS:
        raise
    except BaseException as error:
        kind = "" if isinstance(error, _IN_WORDS) else f"{type(error).__name__}: "
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else first_line(error)
        if "trust_remote_code" in str(error):
            text = "it needs code of its own, which is never run here (trust_remote_code is off)"
        raise ValueError(f"{what}: {kind}{text[:300]}") from None


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
