"""The engine of one machine: makes a study's artefacts in this process, needed first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from spillover.engines.failures import forget, record
from spillover.engines.listener import ProgressListener
from spillover.engines.memory import refuse_what_does_not_fit
from spillover.engines.planning import CostEstimates, missing_sources, name_of, plan
from spillover.models.precision import DType
from spillover.models.sources import Source
from spillover.store import Artefact, Store


def run(study: Artefact, store: Store, listener: ProgressListener | None = None) -> Path:
    """Make everything inside the study that is not there, and the study itself; its folder.

    What is finished and sound is left alone; what was damaged, or made from other bytes than its needs have now, is
    made again. Killed at any moment, the same call goes on.
    """
    listener, rates = listener or ProgressListener(), CostEstimates(store)
    todo = begin(study, store, rates, listener)
    while todo:
        artefact = todo.pop(0)
        _make(artefact, todo, store, rates, listener)
    return store.path(study)


def begin(
    study: Artefact, store: Store, rates: CostEstimates, listener: ProgressListener, here: bool = True
) -> list[Artefact]:
    """What is to be made, needed first; what stopped runs left is cleared, models are fetched. Here, all has to fit."""
    store.leftovers(remove=True)
    steps = plan(study, store, rates)
    listener.study(steps)
    if here:
        refuse_what_does_not_fit(steps)
    sources = missing_sources(steps)
    for source, dtype in sources:
        _fetch(source, dtype, listener)
    if sources and here:
        refuse_what_does_not_fit(steps)  # now that their models can be looked at
    return [step.artefact for step in steps if step.state != "there"]


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


def _fetch(source: Source, dtype: DType | None, listener: ProgressListener) -> None:
    """Fetch or convert a model's weights, which several artefacts need."""
    began, name = time.monotonic(), f"{source.kind}: the model's weights"
    listener.begin(name)
    source.folder(lambda share: listener.progress(share, float("nan")), dtype)
    listener.end(name, time.monotonic() - began, made=True)
