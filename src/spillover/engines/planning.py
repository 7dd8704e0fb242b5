"""How a study stands and what it still takes: a step for each artefact, with state, work, time and disk; sums by kind.

Time and disk go by the store's own artefacts of the same kind and a like amount of work; where there are none, time
goes by the kind's own guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from spillover.manifest import Manifest
from spillover.models.base import Model
from spillover.models.precision import DType, weights_dtype
from spillover.models.sources import Source
from spillover.spec import Spec, walk
from spillover.store import Artefact, Cost, Store, artefacts_in

ALIKE = 8.0  # an artefact of a tiny model says nothing about one of a large model: what is fixed rules its time
# there: finished and sound, as is all it was made from; check: finished, but something it was made from is not;
# absent: not there; damaged: there, but not as it was made
State = Literal["there", "check", "absent", "damaged"]


@dataclass(frozen=True)
class Step:
    """One artefact of a study: how it stands, how much work it is to make, and about how long that takes (seconds)."""

    artefact: Artefact
    state: State
    cost: Cost
    seconds: float
    shared: float = 0.0  # of the work: what making an earlier step does for it, 0 to 1; `seconds` is less by that


@dataclass(frozen=True)
class KindTotal:
    """What is missing of one kind of artefact in a study.

    tokens: that go through a model to make it, about; 0 where none do. bytes: on disk, about; None where it is unknown
    of one of them.
    """

    kind: str
    missing: int
    whole: int
    tokens: float
    token_use: str
    seconds: float
    bytes: float | None


class _Measured(NamedTuple):
    units: float
    done: float  # of the units, those that took the time
    seconds: float
    bytes: int


class CostEstimates:
    """What artefacts of each kind took in this store, and what that says of one that is to be made."""

    def __init__(self, store: Store) -> None:
        self._measured: dict[str, list[_Measured]] = {}
        self._costs: dict[str, Cost] = {}  # by fingerprint: counting may take a look at the data
        for _, manifest in store.manifests():
            self.learn(manifest)

    def learn(self, manifest: Manifest) -> None:
        """Take in what one more finished artefact took: less where it went on from a kept state, more where others'
        work was done with it.
        """
        units, facts = manifest["units"], manifest["facts"]
        done = units * facts.get("work_share", 1 - facts.get("resumed_share", 0.0))
        size = sum(file["bytes"] for file in manifest["files"].values())
        measured = _Measured(units, done, manifest["made"]["seconds"], size)
        self._measured.setdefault(manifest["spec"]["kind"], []).append(measured)

    def cost(self, artefact: Artefact) -> Cost:
        """How much work making the artefact is, counted once."""
        key = artefact.fingerprint
        if key not in self._costs:
            self._costs[key] = artefact.cost()
        return self._costs[key]

    def seconds(self, artefact: Artefact) -> float:
        """Estimated seconds to make the artefact."""
        cost = self.cost(artefact)
        alike = [past for past in self._measured.get(artefact.kind, []) if _alike(cost.units, past.done)]
        done = sum(past.done for past in alike)
        return cost.units * (sum(past.seconds for past in alike) / done if done > 0 else cost.seconds_per_unit)

    def bytes(self, artefact: Artefact) -> float | None:
        """Estimated bytes of its files; None where the store has none like it."""
        units = self.cost(artefact).units
        sizes = [past.bytes for past in self._measured.get(artefact.kind, []) if _alike(units, past.units)]
        return sum(sizes) / len(sizes) if sizes else None


def plan(study: Artefact, store: Store, rates: CostEstimates | None = None) -> list[Step]:
    """How each artefact of the study stands, needed first. Makes nothing; reads what changed since it was last read."""
    rates = rates or CostEstimates(store)
    steps: dict[str, Step] = {}
    for artefact in in_making_order(study):
        needs_there = all(steps[needed.fingerprint].state == "there" for needed in artefact.needs())
        state = _state(artefact, store, needs_there)
        steps[artefact.fingerprint] = Step(artefact, state, rates.cost(artefact), rates.seconds(artefact))
    for kind, missing in _missing_by_kind(list(steps.values())).items():
        for fingerprint, share in kind.shared_work([step.artefact for step in missing]).items():
            step = steps[fingerprint]
            steps[fingerprint] = replace(step, seconds=step.seconds * (1 - share), shared=share)
    return list(steps.values())


def in_making_order(study: Artefact) -> list[Artefact]:
    """Every artefact of a study, needed first: those that are to be made early (`made_early`) and what they need, then
    the rest.
    """
    every = artefacts_in(study)
    early = [needed for artefact in every if artefact.made_early for needed in artefacts_in(artefact)]
    return list({artefact.fingerprint: artefact for artefact in (*early, *every)}.values())


def missing_sources(steps: Sequence[Step]) -> list[tuple[Source, DType | None]]:
    """Models that have to be fetched or converted before what is missing can be made, and the dtype of their weights
    (None: any).
    """
    wanted: dict[tuple[Source, DType | None], None] = {}
    for step in steps:
        if step.state != "there":
            read = list(_weights_read(step.artefact))
            known = {source for source, _ in read}
            others = [spec for spec in walk(step.artefact) if isinstance(spec, Source) and spec not in known]
            wanted |= dict.fromkeys([*read, *((source, None) for source in others)])
    named = {source for source, dtype in wanted if dtype}
    return [
        (source, dtype)
        for source, dtype in wanted
        if not source.is_local(dtype) and (dtype is not None or source not in named)
    ]


def _weights_read(artefact: Artefact) -> Iterator[tuple[Source, DType]]:
    """The weights that making the artefact reads, where it says in what precision; not those of what it needs."""
    waiting: list[Spec] = [artefact]
    while waiting:
        spec = waiting.pop()
        model, precision = getattr(spec, "parent", getattr(spec, "model", None)), getattr(spec, "precision", None)
        if isinstance(model, Model) and precision is not None:
            yield model.base().source, weights_dtype(precision)
        waiting += [child for child in spec.children() if not isinstance(child, Artefact)]


def by_kind(steps: Sequence[Step], rates: CostEstimates) -> list[KindTotal]:
    """A total for each kind that has something missing, in the order in which they are made."""
    totals = []
    for kind, missing in _missing_by_kind(steps).items():
        whole = sum(type(step.artefact) is kind for step in steps)
        tokens, seconds = sum(step.cost.tokens for step in missing), sum(step.seconds for step in missing)
        sizes = [rates.bytes(step.artefact) for step in missing]
        size = None if None in sizes else sum(filter(None, sizes))
        totals.append(KindTotal(kind.__name__, len(missing), whole, tokens, missing[0].cost.token_use, seconds, size))
    return totals


def paid_work(steps: Sequence[Step], store: Store) -> list[str]:
    """What the study will take of paid services, a line for people each."""
    kinds = _missing_by_kind(steps).items()
    return [line for kind, missing in kinds for line in kind.paid_work([step.artefact for step in missing], store)]


def name_of(spec: Spec) -> str:
    """A line for people: kind and summary."""
    summary = spec.summary()
    return summary if summary.startswith(spec.kind) else f"{spec.kind}: {summary}"


def _missing_by_kind(steps: Sequence[Step]) -> dict[type[Artefact], list[Step]]:
    missing: dict[type[Artefact], list[Step]] = {}
    for step in steps:
        if step.state != "there":
            missing.setdefault(type(step.artefact), []).append(step)
    return missing


def _state(artefact: Artefact, store: Store, needs_there: bool) -> State:
    if not store.path(artefact).exists():
        return "absent"
    if not store.intact(artefact):
        return "damaged"
    return "there" if needs_there and store.sound(artefact) else "check"


def _alike(units: float, other: float) -> bool:
    return units / ALIKE <= other <= units * ALIKE
