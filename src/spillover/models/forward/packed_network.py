"""The trunk of llama-like networks, written out for few tokens of many rows at a time. Knows weights and a cache.

Same sums as transformers' own modules in fewer and larger operations: one product for queries, keys and values, one for
gate and up, queries that share keys beside one another (so that no key is copied), rotary pairs side by side; in
float32 the norms' weights are multiplied into the products that follow. Weights are packed (`packing.py`).
Adapters lie beside them, so that rows of one batch can be different checkpoints: a row's bits do not depend on what
the others are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.nn import functional

from spillover.models.forward.batched_lora import (
    BatchedDelta,
    CheckpointDeltas,
    LoRADelta,
    Projection,
    RowSlice,
    lora_delta,
)
from spillover.models.forward.low_rank_change import Change
from spillover.models.forward.packing import PackedLinear, packable
from spillover.models.forward.row_cache import RowCache

Additions = Sequence[RowSlice | BatchedDelta]
KNOWN = ("llama", "qwen2")


@dataclass(frozen=True)
class _Layer:
    """One layer's products."""

    qkv: PackedLinear
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear


class PackedNetwork:
    """A network over packed weights; a cache's row is of the checkpoint that its group names (`cache.groups`)."""

    def __init__(self, network: Any) -> None:
        config, inner = network.config, network.model
        first = inner.layers[0].self_attn
        self.width = first.head_dim
        self.keys = config.num_key_value_heads
        self.heads = config.num_attention_heads
        self.scale, self.eps = first.scaling, config.rms_norm_eps
        self.embed, self.rotary = inner.embed_tokens, inner.rotary_emb
        half = torch.arange(self.width // 2)
        self.pairs = torch.stack([half, half + self.width // 2], dim=1).flatten()  # rotated together: side by side
        self.folds = network.dtype == torch.float32  # the product would be rounded once more in less
        self.layers = [self._layer(layer) for layer in inner.layers]
        head = network.get_output_embeddings()
        self.head = PackedLinear(self._with(head.weight, inner.norm.weight), head.bias)
        self.final = inner.norm.weight.detach()
        self.norms = [(one.input_layernorm.weight, one.post_attention_layernorm.weight) for one in inner.layers]
        self.sizes = {name: tuple(part.weight.shape) for name, part in _linear(inner.layers[0]).items()}
        self.checkpoint_deltas = CheckpointDeltas((None,))

    def with_adapters(self, changes: Sequence[Change]) -> Self | None:
        """The same network for checkpoints that `changes` make of it, in order.

        None where one changes another part, and in less than float32: adapters are merged before rounding.
        """
        if not self.folds:
            return None
        known = {f"model.layers.{layer}.{name}" for layer in range(len(self.layers)) for name in self.sizes}
        if any(set(change) - known for change in changes):
            return None
        found = copy.copy(self)
        found.checkpoint_deltas = CheckpointDeltas(
            [self._checkpoint_deltas(change) if change else None for change in changes]
        )
        return found

    def read(self, tokens: Any, cache: RowCache) -> None:
        """Put the keys and values of `tokens` (rows, tokens) at the cache's place."""
        self._through(tokens, cache, write=False)

    def write(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, vocabulary) after `tokens` (rows, 1), which go to the cache's place."""
        return self.head(self._through(tokens, cache)).float()

    def score(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, tokens, vocabulary) after each of `tokens` (rows, tokens), which go to the cache's place."""
        return cache.position.packing.unpack(self.head(self._through(tokens, cache)).float())

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        projections = [
            (self._paired(attention.q_proj.weight), self._paired(attention.q_proj.bias)),
            (self._paired(attention.k_proj.weight), self._paired(attention.k_proj.bias)),
            (attention.v_proj.weight, attention.v_proj.bias),
        ]
        qkv = torch.cat([weight for weight, _ in projections])
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return _Layer(
            qkv=PackedLinear(self._with(qkv, before), _joined([bias for _, bias in projections])),
            out=PackedLinear(attention.o_proj.weight, attention.o_proj.bias),
            gate_up=PackedLinear(self._with(gate_up, between), _joined([mlp.gate_proj.bias, mlp.up_proj.bias])),
            down=PackedLinear(mlp.down_proj.weight, mlp.down_proj.bias),
        )

    def _with(self, weight: Any, norm: Any) -> Any:
        """A product's weight with that of the norm before it, where it takes that over."""
        return weight * norm if self.folds else weight

    def _checkpoint_deltas(self, change: Change) -> list[dict[str, LoRADelta]]:
        return [self._deltas(change, f"model.layers.{index}.", *norms) for index, norms in enumerate(self.norms)]

    def _deltas(self, change: Change, layer: str, before: Any, between: Any) -> dict[str, LoRADelta]:
        """What a checkpoint adds to the products of one layer, with the norms' weights as those have them."""

        def parts(*names: str) -> list[Projection]:
            there = [(self.sizes[name][0], change.get(layer + name)) for name in names]
            return [(size, (part.down, part.up) if part else None) for size, part in there]

        queries, keys = (
            (size, part and (part[0], self._paired(part[1])))
            for size, part in parts("self_attn.q_proj", "self_attn.k_proj")
        )
        found = {
            "qkv": lora_delta([queries, keys, *parts("self_attn.v_proj")], before),
            "out": lora_delta(parts("self_attn.o_proj")),
            "gate_up": lora_delta(parts("mlp.gate_proj", "mlp.up_proj"), between),
            "down": lora_delta(parts("mlp.down_proj")),
        }
        return {name: delta for name, delta in found.items() if delta}

    def _paired(self, weight: Any) -> Any:
        """Rows of a projection, head by head, with the two that are rotated together beside one another."""
        if weight is None:
            return None
        return weight.unflatten(0, (-1, self.width))[:, self.pairs].flatten(0, 1)

    def _through(self, tokens: Any, cache: RowCache, write: bool = True) -> Any:
        """The normed stream (tokens, d_model) after the last layer, of tokens that count.

        Without `write` the last layer stops at their keys and values.
        """
        place = cache.position
        stream = self.embed(place.packing.pack(tokens))
        owners = place.packing.pack(place.rows[:, None].expand(place.positions.shape))
        additions = self.checkpoint_deltas.of([cache.groups[row] for row in owners.tolist()])
        cos, sin = (part[..., : self.width // 2] for part in self.rotary(stream.new_empty(0).float(), place.positions))
        turn, mask = torch.complex(cos, sin)[:, :, None], self._mask(cache, stream.dtype)
        for index in range(len(self.layers)):
            further = write or index + 1 < len(self.layers)
            added = self._attention(index, additions, stream, turn, mask, cache, further)
            if added is None:
                break
            stream += added
            normed = self._normed(stream, self.norms[index][1])
            gate, up = self._product("gate_up", index, additions, normed).chunk(2, dim=-1)
            stream += self._product("down", index, additions, functional.silu(gate).mul_(up))
        return self._normed(stream, self.final)

    def _attention(
        self, index: int, additions: Additions, stream: Any, turn: Any, mask: Any, cache: RowCache, further: bool
    ) -> Any:
        """What a layer's attention adds to the stream; not `further`: None, and its keys and values are kept alone."""
        normed = self._normed(stream, self.norms[index][0])
        heads = self._product("qkv", index, additions, normed).unflatten(-1, (-1, self.width))
        heads = cache.position.packing.unpack(heads)  # (rows, tokens, heads, width)
        turned = torch.view_as_complex(heads[:, :, : -self.keys].float().unflatten(-1, (-1, 2))) * turn
        query, key = torch.view_as_real(turned).flatten(-2).to(heads.dtype).split([self.heads, self.keys], dim=2)
        keys, values = cache.layers[index].update(key.transpose(1, 2), heads[:, :, -self.keys :].transpose(1, 2))
        if not further:
            return None
        query = query.unflatten(2, (self.keys, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)  # those of a key: its rows
        found = functional.scaled_dot_product_attention(query, keys, values, mask, scale=self.scale)
        found = found.unflatten(2, (-1, heads.shape[1])).permute(0, 3, 1, 2, 4).flatten(2)
        return self._product("out", index, additions, cache.position.packing.pack(found))

    def _product(self, name: str, index: int, additions: Additions, rows: Any) -> Any:
        """Rows times a layer's packed weights, and what each checkpoint adds for its own rows."""
        found = getattr(self.layers[index], name)(rows)
        for span in additions:
            span.add(name, index, found, rows)
        return found

    def _mask(self, cache: RowCache, dtype: Any) -> Any:
        """(rows, 1, queries of a key, span): 0 where a token may look, -inf elsewhere."""
        may = cache.position.masks()
        mask = torch.zeros(may.shape, dtype=dtype).masked_fill_(~may, float("-inf"))
        return mask.repeat(1, 1, self.heads // self.keys, 1) if mask.shape[2] > 1 else mask

    def _normed(self, stream: Any, weight: Any) -> Any:
        """The stream normed, and times the norm's weight where the products that follow have not taken it over."""
        wide = stream.float()
        normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(stream.dtype)
        return normed if self.folds else normed * weight


def packed_network(network: Any) -> PackedNetwork | None:
    """The network written out; None where it is another kind, not on the CPU, or hooked."""
    config = network.config
    plain = (
        config.model_type in KNOWN
        and config.hidden_act == "silu"
        and not any(kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ())
        and not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    )
    return PackedNetwork(network) if plain and all(packable(weight) for weight in network.parameters()) else None


def _linear(layer: Any) -> dict[str, Any]:
    """The projections of a layer, by their names in it."""
    return {name: part for name, part in layer.named_modules() if name.endswith("_proj")}


def _joined(biases: list[Any]) -> Any:
    return None if all(bias is None for bias in biases) else torch.cat(biases)
