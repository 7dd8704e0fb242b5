"""The command line: run, ls, show, verify, judge, new, models. Answers in a blink; loads no torch until it must."""

from spillover.cli.commands import app, main

__all__ = ["app", "main"]
