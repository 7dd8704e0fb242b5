"""The largest of several sizes of a study that this machine makes in the time a user has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from spillover.engines.speed import relative_speed
from spillover.models.precision import native_precision
from spillover.store import Artefact, artefacts_in

Size = TypeVar("Size")
FIXED = 65.0  # seconds at the reference's speed that no artefact counts: starting, a model's first check, loading


def default_minutes() -> float:
    """How long a study may take where nobody says: 10 minutes, and 5 where the machine multiplies bfloat16."""
    return 5.0 if native_precision() == "bfloat16" else 10.0


def largest_within(minutes: float, sizes: Sequence[Size], build: Callable[[Size], Artefact]) -> tuple[Size, str]:
    """The last of `sizes` (from small to large) whose study is made within `minutes`, and a sentence that says why.

    By the kinds' own estimates and this machine's speed, never by what a store holds: the same machine gives the same
    size again, so that a study that stopped goes on. The smallest where none fits; the sentence then says so. Fetching
    a model is not counted. ValueError where `minutes` is not above 0.
    """
    if not minutes > 0:
        raise ValueError(f"--minutes has to be above 0, got {minutes:g}")
    speed = relative_speed(native_precision())
    chosen, seconds = sizes[0], estimated_seconds(build(sizes[0]), speed)
    fits = seconds <= 60 * minutes
    for size in sizes[1:] if fits else ():
        if (longer := estimated_seconds(build(size), speed)) > 60 * minutes:
            break
        chosen, seconds = size, longer
    reason = (
        f"about {seconds / 60:.1f} of {minutes:g} minutes, by the speed measured here ({speed:.2g} times the "
        f"reference's)"
    )
    return chosen, reason if fits else f"{reason}: more than that, and the least there is"


def estimated_seconds(study: Artefact, speed: float) -> float:
    """About how long a study takes that finds nothing made, seconds, at a multiple of the reference speed."""
    total = FIXED / speed
    by_kind: dict[type[Artefact], list[Artefact]] = {}
    for artefact in artefacts_in(study):
        by_kind.setdefault(type(artefact), []).append(artefact)
    for kind, artefacts in by_kind.items():
        done = kind.shared_work(artefacts)
        for artefact in artefacts:
            cost = artefact.cost()
            seconds = cost.units * cost.seconds_per_unit * (1 - done.get(artefact.fingerprint, 0.0))
            total += seconds / speed if artefact.runs_a_network else seconds
    return total
