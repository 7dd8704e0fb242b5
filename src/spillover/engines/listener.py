"""What an engine tells while it works: whoever shows it subclasses `ProgressListener`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillover.engines.planning import Step


class ProgressListener:
    """Hears what an engine does; says nothing itself."""

    def study(self, steps: Sequence[Step]) -> None:
        """All steps of the study, before the first is made."""

    def begin(self, what: str) -> None:
        """Work on one artefact (or a model to fetch) begins."""

    def progress(self, share: float, left: float) -> None:
        """`share` (0 to 1) of the current work is done; the whole study needs about `left` seconds more."""

    def log(self, text: str) -> None:
        """What the current work says of itself, line by line: what it is about to do, in numbers."""

    def waiting(self) -> None:
        """Another process makes what is due; this one waits for it."""

    def end(self, what: str, seconds: float, made: bool) -> None:
        """The work is done, here and now (`made`) or by another process meanwhile."""
