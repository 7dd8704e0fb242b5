"""How an engine's work looks on stderr: bars on a terminal, lines elsewhere. Knows no artefact."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from spillover.cli.text import duration, one_line
from spillover.engines.listener import ProgressListener, Step

EVERY = 20.0  # seconds between lines about one piece of work where there is no terminal


@contextlib.contextmanager
def shown() -> Iterator[ProgressListener]:
    """A `ProgressListener` that suits where stderr goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from spillover.cli.bars import bars

    with bars() as listener:
        yield listener


class Lines(ProgressListener):
    """Plain lines: what begins, how far it is now and then, how long it took."""

    def __init__(self) -> None:
        self.number = self.total = 0
        self.said = 0.0

    def study(self, steps: Sequence[Step]) -> None:
        todo = [step for step in steps if step.state != "there"]
        self.total = len(todo)
        _say(opening(steps))

    def begin(self, what: str) -> None:
        self.number += 1
        self.said = time.monotonic()
        _say(f"[{self.number}/{max(self.number, self.total)}] {one_line(what)}")

    def progress(self, share: float, left: float) -> None:
        if time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            _say(f"      {share:.0%}, about {duration(left)} left for the study")

    def log(self, text: str) -> None:
        for line in text.splitlines():
            _say(f"      {one_line(line)}")

    def waiting(self) -> None:
        _say("      another process makes this one; waiting for it")

    def end(self, what: str, seconds: float, made: bool) -> None:
        _say(f"      {'done in ' + duration(seconds) if made else 'there already'}")


def opening(steps: Sequence[Step]) -> str:
    """One line about a study before it begins."""
    todo = [step for step in steps if step.state != "there"]
    if not todo:
        return f"all {len(steps)} artefacts are there"
    damaged = sum(step.state == "damaged" for step in steps)
    also = f" ({damaged} damaged)" if damaged else ""
    left = duration(sum(step.seconds for step in todo))
    return f"{len(todo)} of {len(steps)} artefacts to make{also}, about {left}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
