"""Finding a network's layers, after a look that what is read at its sites is what they are called."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from spillover.activations.sites import EMBED, FINAL, Decoder, hidden_states, layer_site, site_names
from spillover.models.forward.generating_network import UNKNOWN_KIND
from spillover.models.forward.packing import probe_tokens, probe_tolerance

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    Outputs = list[tuple[nn.Module, Tensor]]  # of a layer's parts, in the order in which they ran


def find_layers(network: PreTrainedModel, added: bool = False) -> Decoder:
    """The decoder of a causal language model; with `added`, what attention and MLP add to the stream is found too.

    ValueError where its sites would not be what they are called.
    """
    import torch

    name = type(network).__name__
    blocks, below = _blocks(network, name)
    decoder = Decoder(below, tuple(blocks), keeps_keys=False)
    with torch.inference_mode():
        stream = _probe_stream(decoder, name)
        keeps_keys = not _has_other_kinds(network) and _keeps_keys(decoder, stream[FINAL])
        decoder = replace(decoder, keeps_keys=keeps_keys)
        if added:
            decoder = replace(decoder, added=_find_added(decoder, stream, name))
    return decoder


def _blocks(network: PreTrainedModel, name: str) -> tuple[nn.ModuleList, PreTrainedModel]:
    """The decoder layers, and the network below its head that they are in: its text tower, if it sees pictures too."""
    import torch

    config = network.config.get_text_config()
    alone = config is network.config and network.base_model is not network
    below = network.base_model if alone else network.get_decoder()
    count = config.num_hidden_layers
    lists = [part for part in below.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count]
    if len(lists) != 1:
        raise ValueError(
            f"{name}: its configuration says {count} layers, and {len(lists)} lists of so many modules were found; "
            f"activations can be captured where there is one"
        )
    if below is network:  # it goes by no name of its own
        below = next(part for part in network.modules() if any(child is lists[0] for child in part.children()))
    return lists[0], below


def _has_other_kinds(network: PreTrainedModel) -> bool:
    """Whether the configuration says that layers keep something else than keys and values of all that came before."""
    kinds = getattr(network.config.get_text_config(), "layer_types", None) or ()
    return bool({*kinds} - {"full_attention", "sliding_attention"})


def _probe_stream(decoder: Decoder, name: str) -> dict[str, Tensor]:
    """The residual stream on a probe, (1, tokens, d) by site.

    Every site is read once, each layer feeds on what the one before handed on, and order is kept.
    """
    import torch

    ids = probe_tokens(decoder.network)
    sites = site_names((EMBED, "resid_pre", "resid_post", FINAL), range(len(decoder.layers)))
    stream: dict[str, Tensor] = {}

    def hook(site: str, hidden: Tensor) -> None:
        if site in stream or hidden.ndim != 3 or hidden.shape[:2] != ids.shape:
            raise ValueError(f"{name}: site {site} is not one residual stream, shape {tuple(hidden.shape)}")
        stream[site] = hidden.clone()

    decoder.run(ids, hook, sites)
    layers_run = sum(layer_site(layer) in stream for layer in range(len(decoder.layers)))
    before = EMBED
    for layer in range(len(decoder.layers)):
        layer_input = stream.get(layer_site(layer, "resid_pre"))
        if layer_input is not None and (before not in stream or not torch.equal(stream[before], layer_input)):
            raise ValueError(f"{name}: layer {layer} is not fed what was read at {before}")
        before = layer_site(layer)
    if len(stream) != len(sites):
        raise ValueError(f"{name}: {layers_run} of {len(decoder.layers)} layers were run; activations would be missing")
    _check_order(decoder, ids, stream[FINAL], name)
    return stream


def _check_order(decoder: Decoder, ids: Tensor, whole: Tensor, name: str) -> None:
    """A token does not see those to its right."""
    parts: list[Tensor] = []
    cut = ids.shape[1] // 2
    decoder.run(ids[:, :cut], lambda _, hidden: parts.append(hidden), (FINAL,))
    if (worst := _difference(parts, whole[:, :cut])) > probe_tolerance(whole):
        raise ValueError(
            f"{name}: the first {cut} tokens differ with what follows them (by {worst:.2g} of the largest value); only "
            f"causal models can be captured"
        )


def _keeps_keys(decoder: Decoder, whole: Tensor) -> bool:
    """Whether going on from a kept beginning, a cache of keys and values, is the same as running the whole."""
    ids, parts = probe_tokens(decoder.network), list["Tensor"]()
    cut = ids.shape[1] // 2
    try:
        cache = decoder.run(ids[:, :cut], lambda _, hidden: parts.append(hidden), (FINAL,), keep_cache=True)
        decoder.run(ids[:, cut:], lambda _, hidden: parts.append(hidden), (FINAL,), after=cache)
    except UNKNOWN_KIND:
        return False
    return _difference(parts, whole) <= probe_tolerance(whole)


def _difference(parts: list[Tensor], whole: Tensor) -> float:
    """How far the parts are from the whole, as a share of its largest value; infinite where that is no number."""
    import torch

    worst = float((torch.cat(parts, dim=1) - whole).abs().max() / whole.abs().max())
    return worst if worst == worst else float("inf")


def _find_added(decoder: Decoder, stream: dict[str, Tensor], name: str) -> tuple[tuple[nn.Module, nn.Module], ...]:
    """For each layer the two of its parts whose outputs, added to what it is given, are what it hands on.

    Attention is the one that runs first. Where outputs are normed before they are added (gemma), it is the norms' that
    are found: what enters the stream is what counts.
    """
    outputs: list[Outputs] = [[] for _ in decoder.layers]

    def note(layer: int, module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        hidden = hidden_states(output)
        if getattr(hidden, "shape", None) == stream[EMBED].shape:
            outputs[layer].append((module, hidden.clone()))

    handles = [
        part.register_forward_hook(partial(note, number))
        for number, layer in enumerate(decoder.layers)
        for part in layer.children()
    ]
    try:
        decoder.run(probe_tokens(decoder.network), lambda site, hidden: None, ())
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_added_pair(outputs[layer], layer, stream, name) for layer in range(len(decoder.layers)))


def _added_pair(outputs: Outputs, layer: int, stream: dict[str, Tensor], name: str) -> tuple[nn.Module, nn.Module]:
    before, after = stream[layer_site(layer, "resid_pre")], stream[layer_site(layer)]
    gain = (after - before).abs().max()
    smallest_error, pair = float("inf"), None
    for (first, first_output), (second, second_output) in combinations(outputs, 2):
        error = float((before + first_output + second_output - after).abs().max() / gain)
        if error < smallest_error:
            smallest_error, pair = error, (first, second)
    if pair is None or not smallest_error <= probe_tolerance(after):
        raise ValueError(
            f"{name}: no two parts of layer {layer} add up to what it adds to the residual stream, so attn_out and "
            f"mlp_out cannot be told; capture resid_pre and resid_post (a steered layer adds a third thing)"
        )
    return pair
