"""A causal network in two halves: the hidden states of its text, and the logits its own head makes of some of them.

The head is the network's own forward with what lies below handed in, so that caps, scalings and whatever else a family
does to its logits are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillover.organisms.lora_targets import decoder_blocks

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_keeps: dict[str, bool] = {}  # by configuration


def inner_model(network: PreTrainedModel) -> PreTrainedModel:
    """The causal model inside peft's wrapper, or the network itself."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def trunk(network: PreTrainedModel) -> nn.Module:
    """What makes hidden states of tokens; of a network that sees pictures too, its text tower alone."""
    inner = inner_model(network)
    sees_more = inner.config.get_text_config() is not inner.config
    return _decoder(inner) if sees_more or inner.base_model is inner else inner.base_model


def _decoder(inner: PreTrainedModel) -> nn.Module:
    """What `get_decoder` gives; where it gives the whole, what the blocks are a part of."""
    decoder: nn.Module = inner.get_decoder()
    if decoder is inner and (blocks := decoder_blocks(inner)):
        return inner.get_submodule(blocks[0].rpartition(".")[0])
    return decoder


def head_logits(network: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The network's logits (tokens, vocabulary) at hidden states (tokens, d_model)."""
    import torch

    inner = inner_model(network)
    below = {inner.base_model, _decoder(inner)} - {inner}  # some heads reach through the one for the other
    own = {part: vars(part).get("forward") for part in below}
    for part in below:
        part.forward = lambda *args, **options: _Given((hidden[None],))
    try:
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        logits: Tensor = inner(input_ids=ids, use_cache=False).logits[0]
    finally:
        for part, forward in own.items():
            if forward is None:
                del part.forward
            else:
                part.forward = forward
    return logits


class _Given(tuple[Any, ...]):
    """Hidden states as a network's forward looks for them below its head: by name or as the first; nothing else."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[0] if name == "last_hidden_state" else None


def can_share_beginnings(network: PreTrainedModel) -> bool:
    """Whether rows may go on from one row's keys and values: not where states are of another kind, or chance enters."""
    config = inner_model(network).config
    if network.training and any(
        value
        for name, value in config.get_text_config().to_dict().items()
        if "drop" in name and isinstance(value, float)
    ):
        return False
    key = config.to_json_string()
    if key not in _keeps:
        _keeps[key] = _keeps_keys(network)
    return _keeps[key]


def _keeps_keys(network: PreTrainedModel) -> bool:
    import torch
    from transformers import DynamicCache

    from spillover.models.forward.generating_network import UNKNOWN_KIND
    from spillover.models.forward.packing import probe_tokens, probe_tolerance

    below, ids, was = trunk(network), probe_tokens(inner_model(network)), network.training
    cut, cache = ids.shape[1] // 2, DynamicCache()
    network.eval()
    try:
        with torch.no_grad():
            whole = below(input_ids=ids, use_cache=False).last_hidden_state
            below(input_ids=ids[:, :cut], cache=cache, use_cache=True)
            again = DynamicCache([(layer.keys, layer.values) for layer in cache.layers])
            rest = below(input_ids=ids[:, cut:], cache=again, use_cache=True).last_hidden_state
    except UNKNOWN_KIND:
        return False
    finally:
        network.train(was)
    return bool((rest - whole[:, cut:]).abs().max() <= probe_tolerance(whole) * whole.abs().max())
