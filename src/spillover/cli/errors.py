"""From what went wrong to one clear message and an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from spillover.interactive.text import one_line, plain

Given = ParamSpec("Given")
Result = TypeVar("Result")
MISTAKE, BUG, STOPPED = 2, 1, 130  # exit codes
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")  # libraries that are not Python's


def clear_errors(command: Callable[Given, Result]) -> Callable[Given, Result]:
    """A command whose errors end in one message on stderr and an exit code; `SPILLOVER_DEBUG=1` shows where."""

    @functools.wraps(command)
    def answered(*words: Given.args, **options: Given.kwargs) -> Result:
        try:
            return command(*words, **options)
        except (KeyboardInterrupt, Exception) as error:
            if type(error).__module__.startswith(("typer", "click")):  # an exit, or a usage error that typer words
                raise
            if os.environ.get("SPILLOVER_DEBUG"):
                traceback.print_exc()
            message, code = explain(error)
            if message:
                print(f"error: {message}", file=sys.stderr)
            raise typer.Exit(code) from None

    return answered


def explain(error: BaseException) -> tuple[str, int]:
    """The message and the exit code for an error."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped; the same command goes on from here", STOPPED
    if isinstance(error, BrokenPipeError):  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return "", MISTAKE
    text = plain(str(error).strip()) or type(error).__name__
    if (isinstance(error, OSError) and error.errno in _DISK_FULL) or any(words in text for words in _IN_WORDS):
        return f"the disk is full{_place(error)}: make room and give the same command again", MISTAKE
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        return f"no permission to read or write{_place(error)}", MISTAKE
    if isinstance(error, OSError) and error.strerror:
        return f"{one_line(error.strerror)}{_place(error)}", MISTAKE
    if isinstance(error, ValueError | OSError):
        return text, MISTAKE
    if isinstance(error, ImportError):
        return f"a package is missing ({text}): install it, or spillover with the extra that brings it", MISTAKE
    if isinstance(error, MemoryError):
        return "not enough memory: try a smaller model, fewer rows at once, or shorter answers", MISTAKE
    return f"unexpected {type(error).__name__}: {text}\nSPILLOVER_DEBUG=1 shows where it happened", BUG


def _place(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f" ({one_line(str(Path(os.fsdecode(name))))})" if isinstance(name, str | bytes) else ""
