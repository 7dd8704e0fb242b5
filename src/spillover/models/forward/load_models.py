"""Models of one base opened to be asked together: their adapters lie beside the base's weights, packed once for all.

What cannot be kept apart (whole weights, DoRA, steering, another precision or device) is loaded by itself, merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spillover.models.base import Base, Model
from spillover.models.forward.low_rank_change import Change, low_rank
from spillover.models.forward.packed_network import PackedNetwork, packed_network
from spillover.models.forward.prompt_reading import Reader, reader
from spillover.models.loading import DType, Loaded, default_device, load, load_base
from spillover.store import Store

_kept: dict[str, PackedNetwork | None] = {}  # the last base written out: a study asks its checkpoints one after another


@dataclass(frozen=True)
class LoadedModels:
    """What answers: a reader whose group `index` is the model at `index`, and the base's tokenizer and settings."""

    reader: Reader
    loaded: Loaded


def open_model(model: Model, store: Store, dtype: DType) -> LoadedModels:
    """One model, to be asked by itself."""
    opened = load_together([model], store, dtype)
    if opened is None:
        loaded = load(model, store, dtype)
        opened = LoadedModels(reader(loaded.network), loaded)
    return opened


def load_together(models: Sequence[Model], store: Store, dtype: DType) -> LoadedModels | None:
    """Models of one base, all there in the store, to be asked in one batch; None where they cannot be kept apart."""
    base = models[0].base()
    if dtype != "float32" or default_device() != "cpu" or any(model.base() != base for model in models):
        return None
    changes: list[Change] = []
    for model in models:
        change = None if model.has_hooks else low_rank(model.adapters(store))
        if change is None:
            return None
        changes.append(change)
    whole = _written_out(base)
    apart = whole and whole.with_adapters(changes)
    return LoadedModels(apart, Loaded(*load_base(base), base)) if apart else None


def _written_out(base: Base) -> PackedNetwork | None:
    if base.fingerprint not in _kept:
        _kept.clear()
        _kept[base.fingerprint] = packed_network(load_base(base)[0])
    return _kept[base.fingerprint]
