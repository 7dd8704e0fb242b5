"""The command line: run, import, reproduce, judge, agree, audit, ls, show, verify. Loads no torch until it must."""

from spillover.cli.commands import app, main

__all__ = ["app", "main"]
