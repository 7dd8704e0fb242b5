"""How an engine's work looks while it runs: bars on a terminal and in a notebook, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spillover.engines.listener import ProgressListener
from spillover.interactive.text import duration, is_quiet, one_line, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from spillover.engines.planning import Step

EVERY = 20.0  # seconds between lines about one piece of work where there is no terminal
INDENT = 6  # of lines about it, in letters
WAITING = "another process makes this one; waiting for it"


@contextlib.contextmanager
def shown() -> Iterator[ProgressListener]:
    """A `ProgressListener` that suits where the output goes, for the length of the block."""
    if is_quiet():
        yield ProgressListener()
        return
    if not (sys.stderr.isatty() or in_notebook()):
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}% {task.fields[note]}", markup=False),
        console=Console(stderr=not in_notebook()),
        refresh_per_second=4,
        transient=True,
    )
    with progress:
        yield Bars(progress)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, where rich draws its bars as HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class Lines(ProgressListener):
    """Plain lines: what begins, how far it is now and then, how long it took."""

    def __init__(self) -> None:
        self.number = self.total = 0
        self.last = 0.0  # when the last line was printed, seconds

    def study(self, steps: Sequence[Step]) -> None:
        todo = [step for step in steps if step.state != "there"]
        self.total = len(todo)
        say(opening(steps))

    def begin(self, what: str) -> None:
        self.number += 1
        self.last = time.monotonic()
        say(f"[{self.number}/{max(self.number, self.total)}] {what}")

    def progress(self, share: float, left: float) -> None:
        if time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            say(f"{share:.0%}, about {duration(left)} left for the study", INDENT)

    def log(self, text: str) -> None:
        for line in text.splitlines():
            say(line, INDENT)

    def waiting(self) -> None:
        say(WAITING, INDENT)

    def end(self, what: str, seconds: float, made: bool) -> None:
        say(f"done in {duration(seconds)}" if made else "there already", INDENT)


class Bars(ProgressListener):
    """Two bars: the study's by estimated time, the current work's by its own share."""

    def __init__(self, progress: Progress) -> None:
        self.rich = progress
        self.total = 0.0
        self.whole: TaskID | None = None
        self.current: TaskID | None = None

    def study(self, steps: Sequence[Step]) -> None:
        self.total = sum(step.seconds for step in steps if step.state != "there")
        self._line(opening(steps))
        if self.total:
            note = f"about {duration(self.total)} left"
            self.whole = self.rich.add_task("the study", total=1.0, note=note)

    def begin(self, what: str) -> None:
        self.current = self.rich.add_task(one_line(what)[:70], total=1.0, note="")

    def progress(self, share: float, left: float) -> None:
        if self.current is not None:
            self.rich.update(self.current, completed=share)
            if self.whole is None and left == left:  # no study around it: its own time left
                self.rich.update(self.current, note=f"about {duration(left)} left")
        if self.whole is not None and left == left:  # not NaN: a model that is fetched says nothing about the rest
            done = max(0.0, 1 - left / max(self.total, left))
            self.rich.update(self.whole, completed=done, note=f"about {duration(left)} left")

    def log(self, text: str) -> None:
        for line in text.splitlines():
            self._line(f"  {one_line(line)}")

    def waiting(self) -> None:
        if self.current is not None:
            self.rich.update(self.current, note=WAITING)

    def end(self, what: str, seconds: float, made: bool) -> None:
        if self.current is not None:
            self.rich.remove_task(self.current)
        took = duration(seconds) if made else "there already"
        self._line(f"✓ {one_line(what)} ({took})")

    def _line(self, text: str) -> None:
        from rich.text import Text

        self.rich.console.print(Text(text))


def opening(steps: Sequence[Step]) -> str:
    """One line about a study before it begins."""
    todo = [step for step in steps if step.state != "there"]
    if not todo:
        return f"all {len(steps)} artefacts are there"
    damaged = sum(step.state == "damaged" for step in steps)
    also = f" ({damaged} damaged)" if damaged else ""
    left = duration(sum(step.seconds for step in todo))
    return f"{len(todo)} of {len(steps)} artefacts to make{also}, about {left}"
