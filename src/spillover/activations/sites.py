"""Where activations are read: the residual stream as decoder layers pass it on. Knows networks; knows no prompt.

Sites, in order: `embed` is what the first layer is given (with the scaling some models apply), `resid_post.LL` what
layer LL, counted from 00, hands on, `final_norm` what the trunk returns: the last layer's output after the final norm,
where transformers' `hidden_states[-1]` is read too. Nothing here goes by the names of a network's parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

EMBED, FINAL = "embed", "final_norm"
PROBE = (7, 3, 5, 2, 11, 6, 4)  # any tokens do
PROBE_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}  # of the largest value


def layer_site(layer: int) -> str:
    """The name of the residual stream after `layer`, counted from 0."""
    return f"resid_post.{layer:02d}"


@dataclass(frozen=True)
class Trunk:
    """A network below its output head, and the decoder layers in it."""

    network: Any
    layers: tuple[Any, ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites in the order in which they are read."""
        return (EMBED, *(layer_site(layer) for layer in range(len(self.layers))), FINAL)

    def run(self, ids: Any, read: Callable[[int, Any], None], after: Any = None, keep: bool = False) -> Any:
        """Run the trunk on right-padded `ids` (rows, tokens); `read` gets each site's number and (rows, tokens, d).

        With `keep`, returns the cache of one row's keys and values; `after` is such a cache, which every row goes on
        from. No attention mask is passed: in a causal network no token sees the padding to its right.
        """
        from transformers import DynamicCache

        first, *_ = self.layers
        handles = [first.register_forward_pre_hook(partial(_given, read), with_kwargs=True)]
        handles += [
            layer.register_forward_hook(partial(_handed_on, read, site)) for site, layer in enumerate(self.layers, 1)
        ]
        cache = DynamicCache() if keep else None  # without the configuration: keeps every key, the masks do the sliding
        if after is not None:
            rows = (len(ids), -1, -1, -1)
            cache = DynamicCache([(layer.keys.expand(rows), layer.values.expand(rows)) for layer in after.layers])
        try:
            output = self.network(input_ids=ids, cache=cache, use_cache=cache is not None)
        finally:
            for handle in handles:
                handle.remove()
        read(len(self.layers) + 1, output.last_hidden_state)
        return cache


def open_trunk(network: Any) -> Trunk:
    """The trunk of a causal language model, after a look that its sites are what they are called."""
    import torch

    trunk = network.base_model
    count = network.config.get_text_config().num_hidden_layers
    stacks = [module for module in trunk.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count]
    if len(stacks) != 1:
        raise ValueError(
            f"{type(network).__name__}: its configuration says {count} layers, and {len(stacks)} lists of so many "
            f"modules were found; activations can be captured where there is one"
        )
    found = Trunk(trunk, tuple(stacks[0]))
    with torch.inference_mode():
        _check(found, type(network).__name__)
    return found


def _check(trunk: Trunk, name: str) -> None:
    """Every site is read once, each layer feeds on what the one before handed on, and order is kept."""
    import torch

    weight = next(trunk.network.parameters())
    vocabulary = trunk.network.get_input_embeddings().num_embeddings
    ids = torch.tensor([PROBE], device=weight.device) % vocabulary
    seen: dict[int, Any] = {}
    fed: list[Any] = []

    def read(site: int, hidden: Any) -> None:
        if site in seen or hidden.ndim != 3 or hidden.shape[:2] != ids.shape:
            raise ValueError(
                f"{name}: site {trunk.sites[site]} is not one residual stream, shape {tuple(hidden.shape)}"
            )
        seen[site] = hidden.clone()

    handles = [
        layer.register_forward_pre_hook(partial(_given, lambda _, hidden: fed.append(hidden.clone())), with_kwargs=True)
        for layer in trunk.layers
    ]
    try:
        trunk.run(ids, read)
    finally:
        for handle in handles:
            handle.remove()
    for site, hidden in enumerate(fed):
        if site not in seen or not torch.equal(seen[site], hidden):
            raise ValueError(f"{name}: layer {site} is not fed what was read at {trunk.sites[site]}")
    if sorted(seen) != list(range(len(trunk.sites))) or len(fed) != len(trunk.layers):
        raise ValueError(f"{name}: {len(fed)} of {len(trunk.layers)} layers were run; activations would be missing")
    _check_order(trunk, ids, seen[len(trunk.layers) + 1], name)


def _check_order(trunk: Trunk, ids: Any, whole: Any, name: str) -> None:
    """A token does not see those to its right, and going on from a kept head is the same as running the whole."""
    import torch

    tolerance = PROBE_TOLERANCE.get(str(whole.dtype).removeprefix("torch."), max(PROBE_TOLERANCE.values()))
    parts: list[Any] = []

    def read(site: int, hidden: Any) -> None:
        if site == len(trunk.layers) + 1:
            parts.append(hidden)

    cut = ids.shape[1] // 2
    cache = trunk.run(ids[:, :cut], read, keep=True)
    trunk.run(ids[:, cut:], read, after=cache)
    worst = float((torch.cat(parts, dim=1) - whole).abs().max() / whole.abs().max())
    if not worst <= tolerance:
        raise ValueError(
            f"{name}: the first {cut} tokens and the rest, run one after the other, differ from one run "
            f"(by {worst:.2g} of the largest value); only causal models with a cache of keys and values can be captured"
        )


def _given(read: Callable[[int, Any], None], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    read(0, args[0] if args else kwargs["hidden_states"])


def _handed_on(read: Callable[[int, Any], None], site: int, module: Any, args: tuple[Any, ...], output: Any) -> None:
    read(site, output[0] if isinstance(output, tuple) else output)
