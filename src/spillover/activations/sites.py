"""Where activations are read: the residual stream before and after every layer, and what is added to it between.

Sites, in the order in which they are computed: `embed` is what the first layer is given (with the scaling some models
apply); for layer LL, counted from 00, `resid_pre.LL` is what it is given, `attn_out.LL` and `mlp_out.LL` what its two
halves add to the stream, `resid_post.LL` what it hands on; `final_norm` is what the trunk returns: the last layer's
output after the final norm, where transformers' `hidden_states[-1]` is read too. Knows networks; knows no prompt, and
goes by no name of a network's parts (`opening` finds them, and looks that they are what they are called).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

SiteKind = Literal["embed", "resid_pre", "attn_out", "mlp_out", "resid_post", "final_norm"]
KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
EMBED, FINAL = "embed", "final_norm"
ADDED: tuple[SiteKind, ...] = ("attn_out", "mlp_out")  # what a layer adds to the stream
Read = Callable[[str, Any], None]  # a site's name, and what is there: (rows, tokens, d_model)


def layer_site(layer: int, kind: str = "resid_post") -> str:
    """The name of a site of `layer`, counted from 0; of the residual stream after it where no other is asked for."""
    return f"{kind}.{layer:02d}"


def site_names(kinds: Iterable[str], layers: Sequence[int]) -> tuple[str, ...]:
    """Names of the sites of these kinds at these layers, in the order in which they are computed."""
    wanted = set(kinds)
    inside = [layer_site(layer, kind) for layer in layers for kind in KINDS[1:-1] if kind in wanted]
    return (*(EMBED,) * (EMBED in wanted), *inside, *(FINAL,) * (FINAL in wanted))


@dataclass(frozen=True)
class Trunk:
    """A network below its output head, and the decoder layers in it.

    added: for each layer the modules whose outputs are what attention and MLP add to the stream; empty where they were
    not looked for.
    """

    network: Any
    layers: tuple[Any, ...]
    added: tuple[tuple[Any, Any], ...] = ()

    @property
    def width(self) -> int:
        """d_model."""
        return int(self.network.get_input_embeddings().embedding_dim)

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def run(self, ids: Any, read: Read, sites: Iterable[str], after: Any = None, keep: bool = False) -> Any:
        """Run the trunk on right-padded `ids` (rows, tokens); `read` gets each of `sites` with (rows, tokens, d).

        With `keep`, returns the cache of one row's keys and values; `after` is such a cache, which every row goes on
        from. No attention mask is passed: in a causal network no token sees the padding to its right.
        """
        from transformers import DynamicCache

        cache = DynamicCache() if keep else None  # without the configuration: keeps every key, the masks do the sliding
        if after is not None:
            rows = (len(ids), -1, -1, -1)
            cache = DynamicCache([(layer.keys.expand(rows), layer.values.expand(rows)) for layer in after.layers])
        wanted = tuple(sites)
        handles: list[Any] = []
        try:
            handles += [self._hook(site, read) for site in wanted if site != FINAL]
            output = self.network(input_ids=ids, cache=cache, use_cache=cache is not None)
        finally:
            for handle in handles:
                handle.remove()
        if FINAL in wanted:
            read(FINAL, output.last_hidden_state)
        return cache

    def _hook(self, site: str, read: Read) -> Any:
        kind, _, number = site.partition(".")
        layer = int(number or 0)
        if kind in (EMBED, "resid_pre"):
            given = partial(_given, partial(read, site))
            return self.layers[layer].register_forward_pre_hook(given, with_kwargs=True)
        module = self.layers[layer] if kind == "resid_post" else self.added[layer][ADDED.index(kind)]  # type: ignore[arg-type]
        return module.register_forward_hook(partial(_handed_on, partial(read, site)))


def handed_on(output: Any) -> Any:
    """The hidden states in what a module returns: the first of several things."""
    return output[0] if isinstance(output, tuple) else output


def _given(read: Callable[[Any], None], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    read(args[0] if args else kwargs["hidden_states"])


def _handed_on(read: Callable[[Any], None], module: Any, args: tuple[Any, ...], output: Any) -> None:
    read(handed_on(output))
