"""Where activations are read: the residual stream before and after every layer, and what is added to it between.

Sites, in the order in which they are computed: `embed` is what the first layer is given (with the scaling some models
apply); for layer LL, counted from 00, `resid_pre.LL` is what it is given, `attn_out.LL` and `mlp_out.LL` what its two
halves add to the stream, `resid_post.LL` what it hands on; `final_norm` is what the decoder returns: the last layer's
output after the final norm, where transformers' `hidden_states[-1]` is read too. No name of a network's parts is relied
on: `find_layers` finds them, and looks that they are what they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

SiteKind = Literal["embed", "resid_pre", "attn_out", "mlp_out", "resid_post", "final_norm"]
KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
EMBED, FINAL = "embed", "final_norm"
PARALLEL = 4  # dimensions of hidden states that run in several streams
ADDED: tuple[SiteKind, ...] = ("attn_out", "mlp_out")  # what a layer adds to the stream
SiteHook = Callable[[str, "Tensor"], None]  # gets a site's name, and what is there: (rows, tokens, d_model)


def layer_site(layer: int, kind: str = "resid_post") -> str:
    """The name of a site of `layer`, counted from 0; of the residual stream after it where no other is asked for."""
    return f"{kind}.{layer:02d}"


def site_names(kinds: Iterable[str], layers: Sequence[int]) -> tuple[str, ...]:
    """Names of the sites of these kinds at these layers, in the order in which they are computed."""
    selected = set(kinds)
    inside = [layer_site(layer, kind) for layer in layers for kind in KINDS[1:-1] if kind in selected]
    return (*(EMBED,) * (EMBED in selected), *inside, *(FINAL,) * (FINAL in selected))


@dataclass(frozen=True)
class Decoder:
    """A causal language model below its output head, and its layers.

    keeps_keys: whether rows can go on from one row's keys and values; a state of another kind is run through whole.
    added: for each layer the modules whose outputs are what attention and MLP add to the stream; empty where they were
    not looked for.
    """

    network: PreTrainedModel
    layers: tuple[nn.Module, ...]
    added: tuple[tuple[nn.Module, nn.Module], ...] = ()
    keeps_keys: bool = True

    @property
    def width(self) -> int:
        """d_model."""
        return int(self.network.get_input_embeddings().embedding_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.device

    def run(
        self, ids: Tensor, hook: SiteHook, sites: Iterable[str], after: Cache | None = None, keep_cache: bool = False
    ) -> Cache | None:
        """Run the decoder on right-padded `ids` (rows, tokens); `hook` gets each of `sites` with (rows, tokens, d).

        With `keep_cache`, returns the keys and values of one row; `after` is such a cache, which every row goes on
        from. No attention mask is passed: in a causal network no token sees the padding to its right.
        """
        from transformers import DynamicCache

        cache = DynamicCache() if keep_cache else None  # without the configuration: keeps every key, the masks slide
        if after is not None:
            rows = (len(ids), -1, -1, -1)
            cache = DynamicCache([(layer.keys.expand(rows), layer.values.expand(rows)) for layer in after.layers])
        sites = tuple(sites)
        handles: list[RemovableHandle] = []
        try:
            handles += [self._register(site, partial(hook, site)) for site in sites if site != FINAL]
            output = self.network(input_ids=ids, cache=cache, use_cache=cache is not None)
        finally:
            for handle in handles:
                handle.remove()
        if FINAL in sites:
            hook(FINAL, output.last_hidden_state)
        return cache

    def _register(self, site: str, hook: Callable[[Tensor], None]) -> RemovableHandle:
        kind, _, number = site.partition(".")
        layer = int(number or 0)
        if kind in (EMBED, "resid_pre"):
            return self.layers[layer].register_forward_pre_hook(partial(_call_with_input, hook), with_kwargs=True)
        module = self.layers[layer] if kind == "resid_post" else self.added[layer][kind == "mlp_out"]
        return module.register_forward_hook(partial(_call_with_output, hook))


def hidden_states(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states (rows, tokens, d) in what a module returns: the first of several things."""
    return one_stream(output[0] if isinstance(output, tuple) else output)


def one_stream(hidden: Tensor) -> Tensor:
    """(rows, tokens, d); of parallel streams, (streams, rows, tokens, d), the one that attention and MLP read and
    write (gemma3n's AltUp: the first)."""
    return hidden[0] if hidden.ndim == PARALLEL else hidden


def _call_with_input(
    hook: Callable[[Tensor], None], module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]
) -> None:
    hook(one_stream(args[0] if args else kwargs["hidden_states"]))


def _call_with_output(
    hook: Callable[[Tensor], None], module: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]
) -> None:
    hook(hidden_states(output))
