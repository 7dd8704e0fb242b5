"""Models of one base loaded to be asked together: their adapters lie beside the base's weights, packed once for all.

What cannot be kept apart (whole weights, DoRA, steering, another precision or device) is loaded by itself, merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spillover.models.base import Base, Model
from spillover.models.forward.lora_weights import AdapterWeights, read_lora
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.forward.probing import AskableNetwork, askable, packed
from spillover.models.loading import DType, Loaded, default_device, load, load_base
from spillover.store import Store

_last_network: dict[str, PackedNetwork | None] = {}  # of the last base: a study asks its checkpoints one after another


@dataclass(frozen=True)
class LoadedModels:
    """A network whose group `index` is the model at `index`, and the base's tokenizer and settings."""

    network: AskableNetwork
    loaded: Loaded


def load_alone(model: Model, store: Store, dtype: DType) -> LoadedModels:
    """One model, to be asked by itself."""
    models = load_together([model], store, dtype)
    if models is None:
        loaded = load(model, store, dtype)
        models = LoadedModels(askable(loaded.network), loaded)
    return models


def load_together(models: Sequence[Model], store: Store, dtype: DType) -> LoadedModels | None:
    """Models of one base, all there in the store, to be asked in one batch; None where they cannot be kept apart."""
    base = models[0].base()
    if dtype != "float32" or default_device() != "cpu" or any(model.base() != base for model in models):
        return None
    adapters: list[AdapterWeights] = []
    for model in models:
        apart = not model.has_hooks and model.tokenizer_folder() is None
        adapter = read_lora(model.adapters(store)) if apart else None
        if adapter is None:
            return None
        adapters.append(adapter)
    packed_base = _packed_base(base)
    network = packed_base and packed_base.with_adapters(adapters)
    return LoadedModels(network, Loaded(*load_base(base), base)) if network else None


def _packed_base(base: Base) -> PackedNetwork | None:
    if base.fingerprint not in _last_network:
        _last_network.clear()
        _last_network[base.fingerprint] = packed(load_base(base)[0])
    return _last_network[base.fingerprint]
