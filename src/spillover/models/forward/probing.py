"""Which way of asking a network is right: the quickest one that gives what the network's own forward gives.

Every shortcut (weights written out, our cache and masks) is held against it on a short probe, so that an architecture
that a shortcut does not know is asked through its own forward and cache, slower, and never wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch

from spillover.models.forward.cached_network import BLOCK, CachedNetwork, TokenIds, TransformersNetwork, read_prompts
from spillover.models.forward.generating_network import (
    UNKNOWN_KIND,
    GeneratingNetwork,
    logits_tolerance,
    relative_error,
)
from spillover.models.forward.packed_network import PackedNetwork, packed_network
from spillover.models.forward.row_cache import RowCache
from spillover.models.mapped_memory import release

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PROBE_SIZES = (1, 9, 18, 25)  # tokens of prompts that begin alike: blocks that are shared, and begun
PROBE_STEPS = 2
REACHES = re.compile(r"window|chunk|local|span")  # in the name of a number of a configuration: how far layers look back
Way = TypeVar("Way", bound=CachedNetwork)
AskableNetwork = CachedNetwork | GeneratingNetwork

_agreed: dict[tuple[str, ...], bool] = {}  # by way, configuration and dtype: a study loads one architecture many times


def askable(network: PreTrainedModel) -> AskableNetwork:
    """The quickest way to read and write with a network that gives what the network gives."""
    return packed(network) or _checked(TransformersNetwork, network) or _generating(network)


def reads_rows(network: PreTrainedModel) -> bool:
    """Whether the network's own modules give the right logits with our cache and masks."""
    return _checked(TransformersNetwork, network) is not None


def packed(network: PreTrainedModel) -> PackedNetwork | None:
    """The network written out; None where it is of a kind that this is not known for, or gives something else."""
    return _checked(packed_network, network)


def _checked(make: Callable[[PreTrainedModel], Way | None], network: PreTrainedModel) -> Way | None:
    key = (make.__name__, *_key(network))
    if not _agreed.get(key, True):
        return None
    expected = None if key in _agreed else own_logits(network)  # first: what is packed then is not to be read again
    if (way := make(network)) is not None:
        if expected is not None:
            error = probe_error(way, network, expected)
            if error != error:  # diverged weights give no numbers in any way: that says nothing of the architecture
                return way
            _agreed[key] = error <= logits_tolerance(network.dtype)
        return way if _agreed[key] else None
    return None


def _generating(network: PreTrainedModel) -> GeneratingNetwork:
    """The network asked by `generate`: with its cache where rows beside one another get from it what each gets alone.

    ValueError where they do not without it either: a token then sees those to its right.
    """
    for cached in (True, False):
        way = GeneratingNetwork(network, cached)
        key = (f"generate, cached {cached}", *_key(network))
        if key not in _agreed:
            error = _generating_error(way)
            if error != error:
                return way
            _agreed[key] = error <= logits_tolerance(network.dtype)
        if _agreed[key]:
            return way
    raise ValueError(
        f"{type(network).__name__} gives other logits after a text than within a longer one: only causal networks, "
        f"whose tokens do not see those that follow, can be asked and scored"
    )


def _generating_error(way: GeneratingNetwork) -> float:
    """How far rows that are written together are from each row's own forward pass."""
    network, size, logits = way.network, PROBE_SIZES[1], list["Tensor"]()
    tokens = _probe_tokens(network)
    rows = torch.stack([tokens[start : start + size + PROBE_STEPS] for start in (0, size - 1, 2 * size - 2)])

    def choose(given: Tensor) -> Tensor | None:
        logits.append(given)
        return rows[:, size + len(logits) - 1] if len(logits) < PROBE_STEPS else None

    with torch.inference_mode():
        own = [network(input_ids=row[None], use_cache=False).logits[0, size - 1 : -1].float() for row in rows]
        release(network.parameters())
        try:
            way.write(rows[:, :size], choose, PROBE_STEPS)
        except UNKNOWN_KIND:
            return float("inf")
    return relative_error(torch.stack(logits, dim=1), torch.stack(own))


def _key(network: PreTrainedModel) -> tuple[str, ...]:
    return network.config.to_json_string(), str(network.dtype), str(network.device)


def askable_at(way: AskableNetwork, network: PreTrainedModel, longest: TokenIds) -> AskableNetwork:
    """The way, or one that gives what the network gives, for prompts as long as this.

    Layers that look back no further than a window may be right on the short probe and wrong beyond the window. So on
    first use beyond one the way is held against the network's own forward on this prompt. What is written out is of
    kinds whose windows are known (tests hold them).
    """
    config = network.config.get_text_config()
    reaches = {value for name, value in config.to_dict().items() if REACHES.search(name) and type(value) is int}
    passed = sorted(reach for reach in reaches if max(PROBE_SIZES) < reach < len(longest))
    if not passed or not isinstance(way, TransformersNetwork):
        return way
    key = (f"beyond {passed}", *_key(network))
    if key not in _agreed:
        with torch.inference_mode():
            tokens = torch.tensor(longest, device=network.device)
            own = network(input_ids=tokens[None], use_cache=False).logits[0, -1].float()
            cache = RowCache(network, 1, len(longest) + BLOCK)
            read_prompts(way, cache, [longest])
            cache.position.move(torch.zeros_like(tokens[:1]), torch.full_like(tokens[:1, None], len(longest) - 1), True)
            error = relative_error(way.next_logits(tokens[None, -1:], cache)[0], own)
        if error != error:
            return way
        _agreed[key] = error <= logits_tolerance(network.dtype)
    return way if _agreed[key] else _generating(network)


def own_logits(network: PreTrainedModel) -> Tensor:
    """What the network's own forward gives on the probe: (prompts, steps, vocabulary)."""
    with torch.inference_mode():
        own = network(input_ids=_probe_tokens(network)[None], use_cache=False).logits[0].float()
        release(network.parameters())
        return torch.stack([own[size - 1 : size - 1 + PROBE_STEPS] for size in PROBE_SIZES])


def probe_error(way: CachedNetwork, network: PreTrainedModel, expected: Tensor) -> float:
    """How far a way is from the network's own logits: root mean square over them, as a share of their SD.

    Infinite where it cannot be run; not a number where the network's own logits are none.
    """
    with torch.inference_mode():
        try:
            ours = _probed(way, network, _probe_tokens(network))
        except UNKNOWN_KIND:
            return float("inf")  # a kind of network that this way is not made for
    return relative_error(ours, expected)


def _probe_tokens(network: PreTrainedModel) -> Tensor:
    size, count = network.get_input_embeddings().num_embeddings, max(PROBE_SIZES) + PROBE_STEPS
    return torch.arange(1, count + 1, device=network.device) * size // (count + 1)


def _probed(way: CachedNetwork, network: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits (prompts, steps, vocabulary) after the probe's prompts and each token that follows them."""
    cache = RowCache(network, len(PROBE_SIZES), len(tokens))
    read_prompts(way, cache, [tuple(tokens[:size].tolist()) for size in PROBE_SIZES])
    rows, logits = torch.arange(len(PROBE_SIZES), device=network.device), []
    for step in range(PROBE_STEPS):
        positions = torch.tensor([[size - 1 + step] for size in PROBE_SIZES], device=network.device)
        cache.position.move(rows, positions, every=True)
        logits.append(way.next_logits(tokens[positions], cache))
    return torch.stack(logits, dim=1)
