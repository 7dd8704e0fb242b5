"""Files that are what they should be, by name: regular ones. A pipe, a device or a socket might be read for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def unlike_a_file(path: Path | str) -> str | None:
    """What stands at a path in place of a regular file ("a pipe"); None where it is one, or nothing is there.

    ValueError where the path is none: it holds a NUL, is too long, or goes round in a circle of links.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{str(path)!r:.200} is no path of a file: it holds a NUL character") from None
    except OSError as error:
        raise ValueError(f"{str(path)!r:.200} cannot be opened ({error.strerror})") from None
    return next((words for holds, words in _KINDS if holds(mode)), None)


def expect_regular(path: Path) -> Path:
    """The path; ValueError where something stands there that is no regular file (one that is absent passes)."""
    if (kind := unlike_a_file(path)) is not None:
        raise ValueError(f"{path} is {kind}, not a file: give a regular one")
    return path


def absolute(text: Path | str) -> Path:
    """The path that a user gives, `~` and links followed; ValueError where it is none, or that of a pipe, a device or a
    socket. A folder, or nothing, may stand there."""
    if (kind := unlike_a_file(text)) not in (None, "a folder"):
        raise ValueError(f"{text} is {kind}, not a file: give a regular one")
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # links that go round in a circle; a home that is not known
        raise ValueError(f"{text!r:.200} is no path of a file: {error}") from None
