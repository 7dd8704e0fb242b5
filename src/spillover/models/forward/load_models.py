"""Models of one base loaded to be asked together: their adapters lie beside the base's weights, packed once for all.

What cannot be kept apart (whole weights, DoRA, steering, another device) is loaded by itself, merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spillover.models.base import Base, Model
from spillover.models.device import default_device
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.forward.probing import AskableNetwork, askable, packed
from spillover.models.loading import Loaded, kept_networks, load, load_base
from spillover.models.lora_weights import AdapterWeights, read_lora
from spillover.models.precision import DType
from spillover.store import Store


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
    if default_device() != "cpu" or any(model.base() != base for model in models):
        return None
    adapters: list[AdapterWeights] = []
    for model in models:
        apart = not model.has_hooks and model.tokenizer_folder() is None
        adapter = read_lora(model.adapters(store)) if apart else None
        if adapter is None:
            return None
        adapters.append(adapter)
    opened = _packed_base(base, dtype)
    network = opened and opened[0].with_adapters(adapters)
    return LoadedModels(network, opened[1]) if opened and network else None


def _packed_base(base: Base, dtype: DType) -> tuple[PackedNetwork, Loaded] | None:
    """The base packed, and what it was opened as; kept, for a study asks its checkpoints one after another."""
    key = f"{base.fingerprint} {dtype}"
    if key not in kept_networks:
        kept_networks.clear()
        loaded = Loaded(*load_base(base, dtype), base)
        network = packed(loaded.network)
        kept_networks[key] = network and (network, loaded)
    kept: tuple[PackedNetwork, Loaded] | None = kept_networks[key]
    return kept
