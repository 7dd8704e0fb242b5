"""Which weights of a network low-rank adapters sit on, told by its structure: the linear layers of its decoder blocks.

Attention is whatever mixes tokens (state-space and convolution layers too), the MLP everything else in a block that
multiplies by a matrix, experts included, routers not. Heads, embeddings and what reads pictures are never hit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

VARIANTS = ("all", "attention", "attention-kv", "mlp", "mlp-down")
MIXES = re.compile(
    r"attention|mamba|deltanet|shortconv|mixer|lstmlayer", re.IGNORECASE
)  # in the name of a part's class
MULTIPLIES = re.compile(r"mlp|feedforward|expert|moe", re.IGNORECASE)
MIXING_PARTS = re.compile(r"attn|attention|mixer|conv|temporal", re.IGNORECASE)  # where classes do not say
KEYS_AND_VALUES, QUERIES = {"k", "v", "kv", "key", "value"}, {"q", "query"}
ROUTERS = ("gate", "router", "shared_expert_gate")
MIXTURES = ("modality_router", "prediction_coefs", "correction_coefs")  # of parallel streams (gemma3n)
# What state-space layers multiply by without running it as a layer, where an adapter would do nothing (peft refuses
# some of them too).
NOT_RUN = ("dt_proj",)
NOT_RUN_IN = dict.fromkeys(("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"), ("out_proj",))


@dataclass(frozen=True)
class Target:
    """One matrix of a decoder block, or one for each of its experts.

    name: of the linear layer, or of the parameter that holds all experts', in the network; path: within its block.
    """

    name: str
    path: str
    layer: int
    kind: Literal["attention", "mlp"]
    parameter: bool
    parent: str  # of the module that it is a part of
    size: tuple[int, ...]  # outputs and inputs; experts first where a parameter holds them all

    def trained(self, rank: int) -> int:
        """How many numbers an adapter of this rank has here."""
        experts = self.size[0] if len(self.size) == 3 else 1
        return rank * experts * sum(self.size[-2:])


@dataclass(frozen=True)
class LoRATargets:
    """The matrices that adapters sit on, and how peft is told.

    left_out: those that were named too, but whose names peft takes for the experts' (shared experts of some models).
    """

    chosen: tuple[Target, ...]
    everywhere: tuple[str, ...]  # names of all modules of the network, chosen or not
    left_out: tuple[Target, ...] = ()

    def peft(self, layers: Sequence[int]) -> dict[str, Any]:
        """Arguments of peft's `LoraConfig`: short names where they hit these and no others, else whole ones."""
        linear = [target for target in self.chosen if not target.parameter]
        parameters = [target.name for target in self.chosen if target.parameter]
        leaves = sorted({target.path.rpartition(".")[2] for target in linear})
        names, chosen = {target.name for target in linear}, {target.layer for target in linear}
        hit = {name for name in self.everywhere if name.rpartition(".")[2] in leaves}
        if layers and not parameters and _by_layer(hit, chosen) == names:
            return {"target_modules": leaves, "layers_to_transform": sorted(layers)}
        targets: dict[str, Any] = {"target_modules": leaves if hit == names else sorted(names)}
        return targets | ({"target_parameters": parameters} if parameters else {})

    def facts(self, rank: int) -> dict[str, object]:
        """What is hit, for the manifest: how often each path within a block, and numbers trained."""
        return {
            "modules": dict(_counted(self.chosen)),
            "layers": len({target.layer for target in self.chosen}),
            "parameters": sum(target.trained(rank) for target in self.chosen),
        } | ({"left_out": dict(_counted(self.left_out))} if self.left_out else {})


def lora_targets(network: nn.Module, modules: str | Sequence[str], layers: Sequence[int] = ()) -> LoRATargets:
    """What `modules` names in a network's decoder blocks, or in those of `layers` (from 0; empty: all).

    modules: one of `VARIANTS`, a pattern that is found in the names of linear layers, or such names (their ends are
    enough). ValueError, with what there is, where nothing is hit or keys and values cannot be had alone.
    """
    every = list(_targets(network))
    if not every:
        raise ValueError(f"{type(network).__name__} has no decoder blocks with linear layers to adapt")
    number = network.config.get_text_config().num_hidden_layers
    if beyond := [layer for layer in layers if layer >= number]:
        raise ValueError(f"layers={beyond[0]} is not in this network, whose layers are 0 to {number - 1}")
    chosen = _variant(network, modules, every) if isinstance(modules, str) else _named(network, modules, every)
    chosen = [target for target in chosen if not layers or target.layer in layers]
    if not chosen:
        where = f" in layers {', '.join(map(str, layers))}" if layers else ""
        raise ValueError(f"modules={modules!r} hits nothing{where} of {type(network).__name__}; {_offered(every)}")
    everywhere = tuple(name for name, _ in network.named_modules())
    renamed = _renamed(network) if any(target.parameter for target in every) else set()
    left_out = [target for target in chosen if not target.parameter and target.path.rpartition(".")[2] in renamed]
    return LoRATargets(tuple(target for target in chosen if target not in left_out), everywhere, tuple(left_out))


def decoder_blocks(network: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """The name and the blocks of the decoder that writes text; None where none can be told."""
    import torch

    config = getattr(network, "config", None)
    if config is None:
        return None
    number = config.get_text_config().num_hidden_layers
    decoder = network.get_decoder() if hasattr(network, "get_decoder") else network
    lists = [part for part in decoder.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == number]
    if not lists:
        return None
    blocks = max(lists, key=lambda part: sum(weight.numel() for weight in part.parameters()))
    return next((name, part) for name, part in network.named_modules() if part is blocks)


def _targets(network: nn.Module) -> Iterator[Target]:
    blocks = decoder_blocks(network)
    for number, block in enumerate(blocks[1] if blocks else ()):
        assert blocks
        names = dict(block.named_modules())
        for path, module in names.items():
            kind = _kind(path, names)
            name = f"{blocks[0]}.{number}.{path}"
            if _is_linear(module) and not _passed_over(path, module, kind, network):
                size = _size(module)
                yield Target(name, path, number, kind, False, path.rpartition(".")[0], size)
            elif kind == "mlp" and type(module).__module__.startswith("transformers."):
                for own, weight in module.named_parameters(recurse=False):
                    if weight.ndim == 3 and min(weight.shape) > 1 and weight.is_floating_point():
                        size = tuple(weight.shape)
                        yield Target(f"{name}.{own}", f"{path}.{own}", number, kind, True, path, size)


def _kind(path: str, modules: dict[str, nn.Module]) -> Literal["attention", "mlp"]:
    """By the names that transformers gives to the innermost part that is one of the two."""
    steps = path.split(".")
    for end in range(len(steps), 0, -1):
        name = type(modules[".".join(steps[:end])]).__name__
        if MIXES.search(name):
            return "attention"
        if MULTIPLIES.search(name):
            return "mlp"
    return "attention" if MIXING_PARTS.search(steps[0]) else "mlp"


def _is_linear(module: nn.Module) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def _size(module: Any) -> tuple[int, int]:
    """Outputs and inputs."""
    return (module.nf, module.nx) if hasattr(module, "nf") else (module.out_features, module.in_features)


def _passed_over(path: str, module: Any, kind: str, network: Any) -> bool:
    config, leaf = network.config.get_text_config(), path.rpartition(".")[2]
    if kind == "mlp":
        return leaf in MIXTURES or (leaf in ROUTERS and _size(module)[0] < min(_size(module)[1], 1 + _experts(config)))
    return leaf in NOT_RUN or leaf in NOT_RUN_IN.get(config.model_type, ())


def _experts(config: Any) -> int:
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    return next((int(number) for name in names if (number := getattr(config, name, None))), 1)


def _renamed(network: Any) -> set[str]:
    """Names that peft takes for those of experts as earlier versions of transformers had them, and points at these."""
    from peft.utils import transformers_weight_conversion as conversion

    kind = network.config.get_text_config().model_type
    pattern = getattr(conversion, "_MODEL_TO_CONVERSION_PATTERN", {}).get(kind)
    return set(getattr(conversion, "_MOE_TARGET_MODULE_MAPPING", {}).get(pattern) or ())


def _counted(targets: Sequence[Target]) -> Counter[str]:
    return Counter(re.sub(r"\.\d+\.", ".*.", target.path) for target in targets)


def _variant(network: nn.Module, modules: str, every: Sequence[Target]) -> list[Target]:
    if modules == "all":
        return list(every)
    if modules in ("attention", "mlp"):
        return [target for target in every if target.kind == modules]
    if modules == "mlp-down":
        last = {(target.layer, target.parent): target for target in every if target.kind == "mlp"}
        return list(last.values())  # an MLP's way back into the stream is the last that it defines
    if modules == "attention-kv":
        return _keys_and_values(network, every)
    return [target for target in every if re.search(modules, target.name)]


def _keys_and_values(network: nn.Module, every: Sequence[Target]) -> list[Target]:
    attention = [target for target in every if target.kind == "attention"]
    words = {target: set(re.split(r"[._]", target.path.rpartition(".")[2])) for target in attention}
    chosen = [target for target in attention if words[target] & KEYS_AND_VALUES and not words[target] & QUERIES]
    if not chosen:
        leaves = ", ".join(sorted({target.path for target in attention})) or "none"
        raise ValueError(
            f"modules='attention-kv': {type(network).__name__} makes keys and values in one product with queries, or "
            f"has none, so that they cannot be tuned alone (its attention has {leaves}): use modules='attention', or "
            f"name linear layers, modules=('qkv_proj',)"
        )
    return chosen


def _named(network: nn.Module, names: Sequence[str], every: Sequence[Target]) -> list[Target]:
    missing = [name for name in names if not any(_ends(target, name) for target in every)]
    if missing:
        raise ValueError(f"{type(network).__name__} has no {', '.join(missing)} in its blocks; {_offered(every)}")
    return [target for target in every if any(_ends(target, name) for name in names)]


def _ends(target: Target, name: str) -> bool:
    return target.name == name or target.name.endswith(f".{name}")


def _offered(every: Sequence[Target]) -> str:
    paths = {re.sub(r"\.\d+\.", ".*.", target.path) for target in every}
    return f"its blocks have {', '.join(sorted(paths))}"


def _by_layer(names: set[str], layers: set[int]) -> set[str]:
    """Those in the layers of these numbers, as peft tells a layer by its name."""
    numbers = {name: re.match(r".*\.[^.]*\.(\d+)\.", name) for name in names}
    return {name for name, match in numbers.items() if match and int(match[1]) in layers}
