"""How long making an artefact takes: as others of its kind and size did, else as its kind guesses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillover.store import Artefact, Cost, Store

ALIKE = 8.0  # an artefact of a tiny model says nothing about one of a large model: what is fixed rules its time


class CostEstimates:
    """Seconds a unit of each kind took in this store, over its finished artefacts of a like size."""

    def __init__(self, store: Store) -> None:
        self._measured: dict[str, list[tuple[float, float]]] = {}  # kind -> units, seconds of each artefact
        self._costs: dict[str, Cost] = {}  # by fingerprint: counting may take a look at the data
        for _, manifest in store.manifests():
            self.learn(manifest)

    def learn(self, manifest: Mapping[str, Any]) -> None:
        """Take in what one more finished artefact took: less where it went on from a kept state, more where others'
        work was done with it.
        """
        done = manifest["facts"].get("work_share", 1 - manifest["facts"].get("resumed_share", 0.0))
        measured = self._measured.setdefault(manifest["spec"]["kind"], [])
        measured.append((manifest["units"] * done, manifest["made"]["seconds"]))

    def cost(self, artefact: Artefact) -> Cost:
        """How much work making the artefact is, counted once."""
        key = artefact.fingerprint
        if key not in self._costs:
            self._costs[key] = artefact.cost()
        return self._costs[key]

    def seconds(self, artefact: Artefact) -> float:
        """Estimated seconds to make the artefact."""
        cost = self.cost(artefact)
        alike = [pair for pair in self._measured.get(artefact.kind, []) if of_like_size(cost.units, pair[0])]
        measured, seconds = sum(units for units, _ in alike), sum(seconds for _, seconds in alike)
        return cost.units * (seconds / measured if measured > 0 else cost.seconds_per_unit)


def of_like_size(units: float, other: float) -> bool:
    """Whether a measurement of so much work tells about that of the other."""
    return units / ALIKE <= other <= units * ALIKE
