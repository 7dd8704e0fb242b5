"""The command line: run, judge, agree, audit, ls, show, verify and more. Answers in a blink; loads no torch until it must."""

from spillover.cli.commands import app, main

__all__ = ["app", "main"]
