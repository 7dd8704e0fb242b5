"""The engine of one machine: makes a study's artefacts in this process, needed first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from spillover.engines.estimates import CostEstimates
from spillover.engines.failures import forget, record
from spillover.engines.listener import ProgressListener, State, Step
from spillover.models.sources import Source
from spillover.spec import Spec, walk
from spillover.store import Artefact, Store, artefacts_in


def plan(study: Artefact, store: Store, rates: CostEstimates | None = None) -> list[Step]:
    """How each artefact of the study stands, needed first. Makes nothing; reads what changed since it was last read."""
    rates = rates or CostEstimates(store)
    steps: dict[str, Step] = {}
    for artefact in artefacts_in(study):
        needs_there = all(steps[needed.fingerprint].state == "there" for needed in artefact.needs())
        state = _state(artefact, store, needs_there)
        steps[artefact.fingerprint] = Step(artefact, state, rates.cost(artefact), rates.seconds(artefact))
    return _less_what_is_shared(list(steps.values()))


def _less_what_is_shared(steps: list[Step]) -> list[Step]:
    todo: dict[type[Artefact], list[Artefact]] = {}
    for step in steps:
        if step.state != "there":
            todo.setdefault(type(step.artefact), []).append(step.artefact)
    shared = {name: share for kind, artefacts in todo.items() for name, share in kind.shared_work(artefacts).items()}
    return [
        replace(step, seconds=step.seconds * (1 - share), shared=share)
        if (share := shared.get(step.artefact.fingerprint, 0.0))
        else step
        for step in steps
    ]


def missing_sources(steps: Sequence[Step]) -> list[Source]:
    """Models that have to be fetched or converted before what is missing can be made."""
    inside = (spec for step in steps if step.state != "there" for spec in walk(step.artefact))
    sources = {spec.fingerprint: spec for spec in inside if isinstance(spec, Source)}
    return [source for source in sources.values() if not source.here()]


def run(study: Artefact, store: Store, listener: ProgressListener | None = None) -> Path:
    """Make everything inside the study that is not there, and the study itself; its folder.

    What is finished and sound is left alone; what was damaged, or made from other bytes than its needs have now, is
    made again. Killed at any moment, the same call goes on.
    """
    listener, rates = listener or ProgressListener(), CostEstimates(store)
    store.leftovers(remove=True)
    steps = plan(study, store, rates)
    listener.study(steps)
    for source in missing_sources(steps):
        fetch(source, listener)
    todo = [step.artefact for step in steps if step.state != "there"]
    while todo:
        artefact = todo.pop(0)
        _make(artefact, todo, store, rates, listener)
    return store.path(study)


def name_of(spec: Spec) -> str:
    """A line for people: kind and summary."""
    summary = spec.summary()
    return summary if summary.startswith(spec.kind) else f"{spec.kind}: {summary}"


def _make(
    artefact: Artefact, upcoming: Sequence[Artefact], store: Store, rates: CostEstimates, listener: ProgressListener
) -> None:
    began, guess = time.monotonic(), rates.seconds(artefact)
    to_come = sum(rates.seconds(later) for later in upcoming)

    def progress(share: float) -> None:
        elapsed = time.monotonic() - began
        whole = elapsed / share if share > 0.05 else max(guess, elapsed)  # its own pace, once there is one
        listener.progress(share, to_come + whole * (1 - share))

    listener.begin(name_of(artefact))
    progress(0.0)
    try:
        made = store.make(artefact, progress, listener.waiting, listener.log, upcoming)
    except Exception as error:
        record(store, artefact, error)
        raise
    forget(store, artefact)
    rates.learn(store.manifest(artefact))
    listener.end(name_of(artefact), time.monotonic() - began, made)


def fetch(source: Source, listener: ProgressListener) -> None:
    """Fetch or convert a model's weights, which several artefacts need."""
    began, name = time.monotonic(), f"{source.kind}: the model's weights"
    listener.begin(name)
    source.folder(lambda share: listener.progress(share, float("nan")))
    listener.end(name, time.monotonic() - began, made=True)


def _state(artefact: Artefact, store: Store, needs_there: bool) -> State:
    if not store.path(artefact).exists():
        return "absent"
    if not store.intact(artefact):
        return "damaged"
    return "there" if needs_there and store.sound(artefact) else "check"
