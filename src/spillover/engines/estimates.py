"""How long making an artefact takes: as others of its kind and size did, else as its kind guesses. Knows manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillover.store import Artefact, Store

ALIKE = 8.0  # an artefact of a tiny model says nothing about one of a large model: what is fixed rules its time


class CostEstimates:
    """Seconds a unit of each kind took in this store, over its finished artefacts of a like size."""

    def __init__(self, store: Store) -> None:
        self._measured: dict[str, list[tuple[float, float]]] = {}  # kind -> units, seconds of each artefact
        self._units: dict[str, float] = {}  # by fingerprint: counting them may take a look at the data
        for _, manifest in store.manifests():
            self.learn(manifest)

    def learn(self, manifest: Mapping[str, Any]) -> None:
        """Take in what one more finished artefact took: less where it went on from a kept state, more where others'
        work was done with it.
        """
        done = manifest["facts"].get("work_share", 1 - manifest["facts"].get("resumed_share", 0.0))
        measured = self._measured.setdefault(manifest["spec"]["kind"], [])
        measured.append((manifest["units"] * done, manifest["made"]["seconds"]))

    def seconds(self, artefact: Artefact) -> float:
        """Estimated seconds to make the artefact."""
        key = artefact.fingerprint
        if key not in self._units:
            self._units[key] = artefact.units()
        units = self._units[key]
        alike = [one for one in self._measured.get(artefact.kind, []) if units / ALIKE <= one[0] <= units * ALIKE]
        measured, seconds = sum(one[0] for one in alike), sum(one[1] for one in alike)
        return units * (seconds / measured if measured > 0 else artefact.seconds_per_unit())
