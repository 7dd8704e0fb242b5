"""The engine of many processes and machines: a study's artefacts as tasks of Ray.

Every task makes one artefact by the store's own code, in a store that all nodes see at one path. What passes between
tasks is whether it worked, never an array. A task whose worker or node dies runs again elsewhere, and finds what was
finished; a task that fails fails its dependants alone.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spillover.engines.failures import forget, record
from spillover.engines.listener import ProgressListener
from spillover.engines.local import begin
from spillover.engines.planning import CostEstimates, name_of
from spillover.models.base import Base
from spillover.spec import decode, encode, walk
from spillover.store import Artefact, Store

RETRIES = 5  # of a task whose worker or node died
LOOK = 0.5  # seconds between looks at what has finished


@dataclass(frozen=True)
class Share:
    """What one task takes of a node; fractions of a GPU let several tasks share it."""

    cpus: float = 1.0
    gpus: float = 0.0  # of tasks that run a network; the others take none
    more: Mapping[str, float] = field(default_factory=dict)  # resources that the cluster names itself


class StudyIncomplete(ValueError):
    """Some artefacts could not be made."""


@dataclass(frozen=True)
class Outcome:
    """What became of one task; skipped where something that it needs could not be made."""

    name: str
    state: Literal["made", "there", "failed", "skipped"]
    seconds: float = 0.0
    error: str = ""

    @property
    def missing(self) -> bool:
        """Whether its artefact could not be made."""
        return self.state in ("failed", "skipped")


def run(
    study: Artefact,
    store: Store,
    listener: ProgressListener | None = None,
    address: str | None = None,
    share: Share | None = None,
) -> Path:
    """Make everything inside the study that is not there, by tasks of Ray, and the study itself; its folder.

    address: of a running cluster (`auto`: the one on this machine); None: one is started here for this run. Unfinished
    where an artefact failed; all that does not hang on it is made.
    """
    listener, rates = listener or ProgressListener(), CostEstimates(store)
    if todo := begin(study, store, rates, listener, here=False):
        with _connected(address) as ray:
            outcomes = _make_all(ray, todo, store, share or Share(), _Progress(todo, rates, listener))
        _expect_all(outcomes)
    return store.path(study)


class _Progress:
    """How far the sweep is: one line for each artefact that is finished, and the time left."""

    def __init__(self, todo: Sequence[Artefact], rates: CostEstimates, listener: ProgressListener) -> None:
        self.guess = {artefact.fingerprint: rates.seconds(artefact) for artefact in todo}
        self.listener, self.began, self.done = listener, time.monotonic(), 0.0
        self.whole = sum(self.guess.values()) or 1.0

    def finished(self, artefact: Artefact, outcome: Outcome) -> None:
        if outcome.missing:
            self.listener.log(f"{outcome.state}: {outcome.name}: {outcome.error}")
        else:
            self.listener.begin(outcome.name)
            self.listener.end(outcome.name, outcome.seconds, outcome.state == "made")
        self.done += self.guess[artefact.fingerprint]

    def look(self) -> None:
        share = min(self.done / self.whole, 1.0)
        elapsed = time.monotonic() - self.began
        self.listener.progress(share, elapsed * (1 - share) / share if share > 0.02 else self.whole)


def _make_all(ray: Any, todo: Sequence[Artefact], store: Store, share: Share, progress: _Progress) -> list[Outcome]:
    """Submit every task, needed first, and hear of each as it ends; what became of them."""
    make = ray.remote(_make)
    tasks: dict[str, Any] = {}
    for artefact in todo:
        needs = [tasks[need.fingerprint] for need in artefact.needs() if need.fingerprint in tasks]
        options = _options(artefact, share)
        tasks[artefact.fingerprint] = make.options(**options).remote(encode(artefact), str(store.root), *needs)
    artefacts = {tasks[artefact.fingerprint]: artefact for artefact in todo}
    waiting, outcomes = list(artefacts), []
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK)
            for task in ready:
                outcomes.append(_outcome(ray, task, artefacts[task], store))
                progress.finished(artefacts[task], outcomes[-1])
            progress.look()
    except BaseException:
        for task in waiting:
            ray.cancel(task, force=True)
        raise
    return outcomes


def _outcome(ray: Any, task: Any, artefact: Artefact, store: Store) -> Outcome:
    try:
        outcome: Outcome = ray.get(task)
    except ray.exceptions.RayError as error:  # its worker died again and again, or took a need's result with it
        return Outcome(name_of(artefact), "failed", error=record(store, artefact, error).error)
    return outcome


def _make(spec: object, root: str, *needs: Outcome) -> Outcome:
    """The task: make one artefact, unless one that it needs could not be made."""
    artefact, store, began = decode(spec), Store(Path(root)), time.monotonic()
    name = name_of(artefact)
    if missing := [need.name for need in needs if need.missing]:
        return Outcome(name, "skipped", error=f"it needs what could not be made ({missing[0]})")
    try:
        made = store.make(artefact)
    except Exception as error:
        return Outcome(name, "failed", error=record(store, artefact, error).error)
    forget(store, artefact)
    return Outcome(name, "made" if made else "there", time.monotonic() - began)


def _options(artefact: Artefact, share: Share) -> dict[str, object]:
    """What Ray is told of one task. Tasks about one base go to workers of their own, which keep it loaded.

    All of them, those too that run no network: Ray ends workers beyond a node's cores, so that tasks of two kinds by
    turns would start a process, and load torch, for each.
    """
    options: dict[str, object] = {"num_cpus": share.cpus, "max_retries": RETRIES, "resources": dict(share.more) or None}
    bases = sorted(spec.fingerprint for spec in walk(artefact) if isinstance(spec, Base))
    if bases:
        options["runtime_env"] = {"env_vars": {"SPILLOVER_BASE": bases[0]}}
    if artefact.runs_a_network:
        options["num_gpus"] = share.gpus
    return options


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; disconnected afterwards, and stopped if it was started here."""
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("--engine ray needs Ray: pip install 'spillover[ray]' (or --engine here)") from None
    if ray.is_initialized():  # by whoever calls, who ends it too
        yield ray
        return
    ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield ray
    finally:
        ray.shutdown()


def _expect_all(outcomes: Sequence[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    skipped = sum(outcome.state == "skipped" for outcome in outcomes)
    if failed:
        raise StudyIncomplete(
            f"{len(failed)} artefacts could not be made, and {skipped} that hang on them were not tried; the other "
            f"{len(outcomes) - len(failed) - skipped} are there. First: {failed[0].name}: {failed[0].error}. "
            f"`spillover ls --failed` has them all; the same command tries again"
        )
