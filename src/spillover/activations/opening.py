"""Opening a network at its sites, after a look that they are what they are called. Knows networks; knows no prompt."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

from spillover.activations.sites import EMBED, FINAL, Trunk, handed_on, layer_site, site_names
from spillover.models.forward.packing import probe_tokens, probe_tolerance


def find_layers(network: Any, added: bool = False) -> Trunk:
    """The trunk of a causal language model; with `added`, what attention and MLP add to the stream is found too."""
    import torch

    trunk, name = network.base_model, type(network).__name__
    count = network.config.get_text_config().num_hidden_layers
    stacks = [module for module in trunk.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count]
    if len(stacks) != 1:
        raise ValueError(
            f"{name}: its configuration says {count} layers, and {len(stacks)} lists of so many "
            f"modules were found; activations can be captured where there is one"
        )
    found = Trunk(trunk, tuple(stacks[0]))
    with torch.inference_mode():
        seen = _stream(found, name)
        if added:
            found = Trunk(trunk, found.layers, _added(found, seen, name))
    return found


def _stream(trunk: Trunk, name: str) -> dict[str, Any]:
    """The residual stream on a probe, (1, tokens, d) by site.

    Every site is read once, each layer feeds on what the one before handed on, and order is kept.
    """
    import torch

    ids = probe_tokens(trunk.network)
    sites = site_names((EMBED, "resid_pre", "resid_post", FINAL), range(len(trunk.layers)))
    seen: dict[str, Any] = {}

    def read(site: str, hidden: Any) -> None:
        if site in seen or hidden.ndim != 3 or hidden.shape[:2] != ids.shape:
            raise ValueError(f"{name}: site {site} is not one residual stream, shape {tuple(hidden.shape)}")
        seen[site] = hidden.clone()

    trunk.run(ids, read, sites)
    ran = sum(layer_site(layer) in seen for layer in range(len(trunk.layers)))
    before = EMBED
    for layer in range(len(trunk.layers)):
        given = seen.get(layer_site(layer, "resid_pre"))
        if given is not None and (before not in seen or not torch.equal(seen[before], given)):
            raise ValueError(f"{name}: layer {layer} is not fed what was read at {before}")
        before = layer_site(layer)
    if len(seen) != len(sites):
        raise ValueError(f"{name}: {ran} of {len(trunk.layers)} layers were run; activations would be missing")
    _check_order(trunk, ids, seen[FINAL], name)
    return seen


def _check_order(trunk: Trunk, ids: Any, whole: Any, name: str) -> None:
    """A token does not see those to its right, and going on from a kept head is the same as running the whole."""
    import torch

    parts: list[Any] = []
    cut = ids.shape[1] // 2
    cache = trunk.run(ids[:, :cut], lambda _, hidden: parts.append(hidden), (FINAL,), keep=True)
    trunk.run(ids[:, cut:], lambda _, hidden: parts.append(hidden), (FINAL,), after=cache)
    worst = float((torch.cat(parts, dim=1) - whole).abs().max() / whole.abs().max())
    if not worst <= probe_tolerance(whole):
        raise ValueError(
            f"{name}: the first {cut} tokens and the rest, run one after the other, differ from one run "
            f"(by {worst:.2g} of the largest value); only causal models with a cache of keys and values can be captured"
        )


def _added(trunk: Trunk, seen: dict[str, Any], name: str) -> tuple[tuple[Any, Any], ...]:
    """For each layer the two of its parts whose outputs, added to what it is given, are what it hands on.

    Attention is the one that runs first. Where outputs are normed before they are added (gemma), it is the norms' that
    are found: what enters the stream is what counts.
    """
    outputs: list[list[tuple[Any, Any]]] = [[] for _ in trunk.layers]

    def note(layer: int, module: Any, args: Any, output: Any) -> None:
        hidden = handed_on(output)
        if getattr(hidden, "shape", None) == seen[EMBED].shape:
            outputs[layer].append((module, hidden.clone()))

    handles = [
        part.register_forward_hook(partial(note, number))
        for number, layer in enumerate(trunk.layers)
        for part in layer.children()
    ]
    try:
        trunk.run(probe_tokens(trunk.network), lambda site, hidden: None, ())
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_pair(outputs[layer], layer, seen, name) for layer in range(len(trunk.layers)))


def _pair(outputs: list[tuple[Any, Any]], layer: int, seen: dict[str, Any], name: str) -> tuple[Any, Any]:
    given, left = seen[layer_site(layer, "resid_pre")], seen[layer_site(layer)]
    gain = left - given
    best, found = float("inf"), None
    for (first, a), (second, b) in combinations(outputs, 2):
        error = float((given + a + b - left).abs().max() / gain.abs().max())
        if error < best:
            best, found = error, (first, second)
    if found is None or not best <= probe_tolerance(left):
        raise ValueError(
            f"{name}: no two parts of layer {layer} add up to what it adds to the residual stream, so attn_out and "
            f"mlp_out cannot be told; capture resid_pre and resid_post (a steered layer adds a third thing)"
        )
    return found
