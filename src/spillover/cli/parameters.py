"""A parameter of a command whose options are put together by the program."""

from __future__ import annotations

import inspect


def option(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command; without a default the user has to give it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
