"""What an engine says while it works. Whoever shows it subclasses `ProgressListener`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spillover.store import Artefact, Cost

# there: finished and sound, as is all it was made from; check: finished, but something it was made from is not;
# absent: not there; damaged: there, but not as it was made
State = Literal["there", "check", "absent", "damaged"]


@dataclass(frozen=True)
class Step:
    """One artefact of a study: how it stands, how much work it is to make, and about how long it takes (seconds)."""

    artefact: Artefact
    state: State
    cost: Cost
    seconds: float
    shared: float = 0.0  # of the work: what making an earlier step does for it, 0 to 1; `seconds` is less by that


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
