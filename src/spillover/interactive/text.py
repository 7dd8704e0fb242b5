"""Text for a terminal: data made harmless, columns, durations and sizes for people."""

from __future__ import annotations

import logging
import math
import re
import shutil
import sys
from collections.abc import Collection, Sequence

# control characters (escape sequences begin with one), direction overrides, and halves of a surrogate pair
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def plain(text: str) -> str:
    """The text with every character that could steer a terminal replaced; lines and tabs stay."""
    return _HARMFUL.sub("\ufffd", text)


class CleanRecord(logging.LogRecord):
    """What libraries log as text that steers no terminal (transformers' report on a model's weights says their names);
    colours of their own are left out."""

    def getMessage(self) -> str:
        return plain(_COLOUR.sub("", super().getMessage()))


def one_line(text: str) -> str:
    """The text made harmless, on one line."""
    return plain(" ".join(text.split()))


_quiet = False


def be_quiet(quiet: bool) -> None:
    """Whether notes and progress are left out from now on: what was asked for and errors are still printed."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether notes and progress are left out."""
    return _quiet


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def say(text: str, indent: int = 0) -> None:
    """Print a text on stderr, made harmless, on one line that begins with so many spaces; nothing when quiet."""
    if not _quiet:
        print(" " * indent + one_line(text), file=sys.stderr, flush=True)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of cells as lines, made harmless, with columns below one another; those numbered in `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return plain("\n".join(lines))


def duration(seconds: float) -> str:
    """Seconds for people: 4 s, 3 min 20 s, 2 h 5 min; a question mark where unknown."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 10:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes for people: 812 B, 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
