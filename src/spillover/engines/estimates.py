"""How long making an artefact takes: measured rates of its kind, else the kind's own guess. Knows manifests only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillover.store import Artefact, Store


class Rates:
    """Seconds a unit of each kind took in this store, over all its finished artefacts."""

    def __init__(self, store: Store) -> None:
        self._measured: dict[str, tuple[float, float]] = {}  # kind -> seconds, units
        self._units: dict[str, float] = {}  # by fingerprint: counting them may take a look at the data
        for _, manifest in store.find():
            self.learn(manifest)

    def learn(self, manifest: Mapping[str, Any]) -> None:
        """Take in what one more finished artefact took."""
        kind = manifest["spec"]["kind"]
        seconds, units = self._measured.get(kind, (0.0, 0.0))
        self._measured[kind] = (seconds + manifest["made"]["seconds"], units + manifest["units"])

    def seconds(self, artefact: Artefact) -> float:
        """Estimated seconds to make the artefact."""
        key = artefact.fingerprint
        if key not in self._units:
            self._units[key] = artefact.units()
        seconds, units = self._measured.get(artefact.kind, (0.0, 0.0))
        return self._units[key] * (seconds / units if units > 0 else artefact.seconds_per_unit())
