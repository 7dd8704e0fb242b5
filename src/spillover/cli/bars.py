"""Progress bars on a terminal, by rich: the whole study, and what is being made. Knows no artefact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from spillover.cli.progress import opening
from spillover.cli.text import duration, one_line
from spillover.engines.listener import ProgressListener, Step


@contextlib.contextmanager
def bars() -> Iterator[ProgressListener]:
    """Bars while the block runs."""
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}% {task.fields[note]}", markup=False),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
    )
    with progress:
        yield Bars(progress)


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
            self.rich.update(self.current, note="another process makes this one; waiting for it")

    def end(self, what: str, seconds: float, made: bool) -> None:
        if self.current is not None:
            self.rich.remove_task(self.current)
        took = duration(seconds) if made else "there already"
        self._line(f"✓ {one_line(what)} ({took})")

    def _line(self, text: str) -> None:
        self.rich.console.print(Text(text))
