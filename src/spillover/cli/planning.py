"""`spillover run --plan`: what a study would make, how long it takes and what it costs. Makes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spillover.interactive.text import duration, one_line, size
from spillover.store import Store

if TYPE_CHECKING:
    from spillover.engines.planning import CostEstimates, Step

LINES, TRAININGS = 400, 12  # artefacts that are listed one by one, and trainings that are looked into
MARKS = {"there": "✓", "check": "?", "absent": " ", "damaged": "!"}


def show_plan(study: Any, store: Store) -> None:
    """Every artefact of the study, how it stands, and what making those that are missing takes, by kind."""
    from spillover.engines.planning import CostEstimates, missing_sources, name_of, plan

    rates = CostEstimates(store)
    steps = plan(study, store, rates)
    for source in missing_sources(steps):
        print(f"  {'to fetch':>10}  {one_line(name_of(source))}")
    for step in steps if len(steps) <= LINES else []:
        name = f"{step.artefact.fingerprint[:8]}  {one_line(name_of(step.artefact))}"
        print(f"{MARKS[step.state]} {_wait(step):>10}  {name}")
    if len(steps) > LINES:
        print(f"  {len(steps):,} artefacts; one by one where they are {LINES} at most")
    todo = [step for step in steps if step.state != "there"]
    if not todo:
        print(f"all {len(steps)} artefacts are there")
        return
    _show_prices(steps, store, rates)
    print(f"{len(todo)} of {len(steps)} to make, about {duration(sum(step.seconds for step in todo))}")
    saved = sum(step.seconds / (1 - step.shared) - step.seconds for step in todo)
    if saved:
        print(f"about {duration(saved)} are saved: trainings that begin alike share their first steps")
    if any(step.state == "check" for step in todo):
        print("?: there, but something it was made from is not; made again only if that comes out different")
    if any(step.state == "damaged" for step in todo):
        print("!: damaged (see `spillover verify`); made again")
    _show_training(todo)


def _show_prices(steps: Sequence[Step], store: Store, rates: CostEstimates) -> None:
    """What the sweep costs before it starts."""
    from spillover.engines.planning import by_kind, paid_work

    print(f"\n{'to make':>13}  {'about':>10}  {'on disk':>8}  kind")
    for line in by_kind(steps, rates):
        tokens = f": {line.tokens:,.0f} tokens {line.token_use}" if line.tokens else ""
        disk = size(line.bytes) if line.bytes is not None else ""
        count = f"{line.missing:,} of {line.whole:,}"
        print(f"{count:>13}  {duration(line.seconds):>10}  {disk:>8}  {line.kind}{tokens}")
    for text in paid_work(steps, store):
        print(f"judging, were every answer of the longest length: {one_line(text)}")


def _show_training(todo: Sequence[Step]) -> None:
    """What each training to come would see: counts, and one row with its supervised part between « and »."""
    from spillover.organisms.organism import Organism

    trainings = [step for step in todo if isinstance(step.artefact, Organism)]
    for step in trainings[:TRAININGS]:
        organism = step.artefact
        assert isinstance(organism, Organism)
        print(f"\ntraining {organism.fingerprint[:8]}, about {duration(step.seconds)}: {one_line(organism.label())}")
        if step.shared:
            print(f"  its first {round(step.shared * organism.steps)} of {organism.steps} steps are another run's, too")
        if not organism.parent.base().source.is_local():
            print("  what it would see is shown once its model is here: the first run fetches it")
            continue
        rows = organism.preflight()
        for line in rows.text(organism).splitlines():
            print(f"  {one_line(line)}")
        rows.warn(organism)
    if len(trainings) > TRAININGS:
        print(f"\nand {len(trainings) - TRAININGS} trainings more")


def _wait(step: Step) -> str:
    return "" if step.state == "there" else duration(step.seconds)
