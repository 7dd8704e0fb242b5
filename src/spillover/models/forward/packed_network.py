"""The trunk of llama-like networks, written out for few tokens of many rows at a time.

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
from typing import TYPE_CHECKING, Self

import torch
from torch.nn import functional

from spillover.models.adapted_linear import AdaptedLinear
from spillover.models.forward.batched_lora import (
    BatchedDelta,
    CheckpointDeltas,
    LoRADelta,
    Projection,
    RowSlice,
    lora_delta,
)
from spillover.models.forward.packing import PackedLinear, packable
from spillover.models.forward.row_cache import RowCache
from spillover.models.lora_weights import AdapterWeights
from spillover.models.mapped_memory import release

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

KNOWN = ("llama", "qwen2")


@dataclass(frozen=True)
class _Pass:
    """What every layer of one forward pass needs.

    additions: what checkpoints add to products. rotation: (rows, tokens, 1, width / 2), complex. mask: (rows, 1,
    queries of a key, span), 0 where a token may look and -inf elsewhere.
    """

    cache: RowCache
    additions: Sequence[RowSlice | BatchedDelta]
    rotation: Tensor
    mask: Tensor


class PackedNetwork:
    """A network over packed weights; a cache's row is of the checkpoint that its group names (`cache.groups`)."""

    def __init__(self, network: PreTrainedModel) -> None:
        config, trunk = network.config, network.base_model
        first = trunk.layers[0].self_attn
        self.width = first.head_dim
        self.keys = config.num_key_value_heads
        self.heads = config.num_attention_heads
        self.scale, self.eps = first.scaling, config.rms_norm_eps
        self.embed, self.rotary = trunk.embed_tokens, trunk.rotary_emb
        half = torch.arange(self.width // 2)
        self.pairs = torch.stack([half, half + self.width // 2], dim=1).flatten()  # rotated together: side by side
        self.folds_norms = network.dtype == torch.float32  # in less, the product would be rounded once more
        head = network.get_output_embeddings()
        self.head = PackedLinear(self._with_norm(head.weight, trunk.norm.weight), head.bias)
        if self.head.packed:
            release([head.weight])  # what is packed is not read again: one copy of it stays in memory
        self.layers = [self._packed_layer(layer) for layer in trunk.layers]
        self.final_norm = trunk.norm.weight.detach()
        self.norms = [(layer.input_layernorm.weight, layer.post_attention_layernorm.weight) for layer in trunk.layers]
        projections = {name: module for name, module in trunk.layers[0].named_modules() if name.endswith("_proj")}
        self.outputs = {name: len(projection.weight) for name, projection in projections.items()}
        self.checkpoint_deltas = CheckpointDeltas((None,))

    def with_adapters(self, adapters: Sequence[AdapterWeights]) -> Self | None:
        """The same network for checkpoints that are `adapters` over it, in order; None where one changes another part.

        They compute in the dtype of the weights, and are not rounded into them.
        """
        known = {f"model.layers.{layer}.{name}" for layer in range(len(self.layers)) for name in self.outputs}
        if any(set(adapter) - known for adapter in adapters):
            return None
        network = copy.copy(self)
        network.checkpoint_deltas = CheckpointDeltas(
            [self._checkpoint_deltas(adapter) if adapter else None for adapter in adapters]
        )
        return network

    def prefill(self, tokens: Tensor, cache: RowCache) -> None:
        """Put the keys and values of `tokens` (rows, tokens) at the cache's position."""
        self._run_layers(tokens, cache, prefill=True)

    def next_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        """Logits (rows, vocabulary) after `tokens` (rows, 1), which go to the cache's position."""
        return self._logits(tokens, cache)

    def all_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        """Logits (rows, tokens, vocabulary) after each of `tokens` (rows, tokens), which go to the cache's position."""
        return cache.position.packing.unpack(self._logits(tokens, cache))

    def _packed_layer(self, layer: nn.Module) -> dict[str, PackedLinear]:
        attention, mlp = layer.self_attn, layer.mlp
        before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        paired = (attention.q_proj, attention.k_proj)
        qkv = torch.cat([*(self._pair(projection.weight) for projection in paired), attention.v_proj.weight])
        biases = [projection.bias if projection.bias is None else self._pair(projection.bias) for projection in paired]
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        qkv_bias = _concatenated([*biases, attention.v_proj.bias])
        gate_up_bias = _concatenated([mlp.gate_proj.bias, mlp.up_proj.bias])
        packed = {
            "qkv": PackedLinear(self._with_norm(qkv, before), qkv_bias),
            "out": PackedLinear(attention.o_proj.weight, attention.o_proj.bias),
            "gate_up": PackedLinear(self._with_norm(gate_up, between), gate_up_bias),
            "down": PackedLinear(mlp.down_proj.weight, mlp.down_proj.bias),
        }
        if packed["out"].packed:
            release(weight for weight in layer.parameters() if weight.ndim > 1)
        return packed

    def _with_norm(self, weight: Tensor, norm: Tensor) -> Tensor:
        """A product's weight with that of the norm before it, where it takes that over."""
        return weight * norm if self.folds_norms else weight

    def _checkpoint_deltas(self, adapter: AdapterWeights) -> list[dict[str, LoRADelta]]:
        return [self._deltas(adapter, f"model.layers.{index}.", *norms) for index, norms in enumerate(self.norms)]

    def _deltas(self, adapter: AdapterWeights, layer: str, before: Tensor, between: Tensor) -> dict[str, LoRADelta]:
        """What a checkpoint adds to the products of one layer, with the norms' weights as those have them."""

        def projections(*names: str, paired: bool = False) -> list[Projection]:
            layers = [(self.outputs[name], adapter.get(layer + name)) for name in names]
            return [
                (outputs, (weights.down, self._pair(weights.up) if paired else weights.up) if weights else None)
                for outputs, weights in layers
            ]

        if not self.folds_norms:
            own = {name: weights for name, weights in adapter.items() if name.startswith(layer)}
            adapter = {name: weights.to(before.dtype) for name, weights in own.items()}
        norms = (before, between) if self.folds_norms else (None, None)
        queries_keys = projections("self_attn.q_proj", "self_attn.k_proj", paired=True)
        deltas = {
            "qkv": lora_delta([*queries_keys, *projections("self_attn.v_proj")], norms[0]),
            "out": lora_delta(projections("self_attn.o_proj")),
            "gate_up": lora_delta(projections("mlp.gate_proj", "mlp.up_proj"), norms[1]),
            "down": lora_delta(projections("mlp.down_proj")),
        }
        return {name: delta for name, delta in deltas.items() if delta}

    def _pair(self, weight: Tensor) -> Tensor:
        """Rows of a projection, head by head, with the two that are rotated together beside one another."""
        return weight.unflatten(0, (-1, self.width))[:, self.pairs].flatten(0, 1)

    def _logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        logits: Tensor = self.head(self._run_layers(tokens, cache))
        return logits.float()

    def _run_layers(self, tokens: Tensor, cache: RowCache, prefill: bool = False) -> Tensor:
        """The normed stream (tokens, d_model) after the last layer, of tokens that count.

        With `prefill` the last layer stops at their keys and values.
        """
        position = cache.position
        stream = self.embed(position.packing.pack(tokens))
        row_of_token = position.packing.pack(position.rows[:, None].expand(position.positions.shape))
        additions = self.checkpoint_deltas.for_rows([cache.groups[row] for row in row_of_token.tolist()])
        angles = self.rotary(stream.new_empty(0).float(), position.positions)
        cos, sin = (values[..., : self.width // 2] for values in angles)
        forward = _Pass(cache, additions, torch.complex(cos, sin)[:, :, None], self._mask(cache, stream.dtype))
        for index in range(len(self.layers)):
            keys_alone = prefill and index + 1 == len(self.layers)
            added = self._attention(index, forward, stream, keys_alone)
            if added is None:
                break
            stream += added
            normed = self._normed(stream, self.norms[index][1])
            gate, up = self._product("gate_up", index, forward, normed).chunk(2, dim=-1)
            stream += self._product("down", index, forward, functional.silu(gate).mul_(up))
        return self._normed(stream, self.final_norm)

    def _attention(self, index: int, forward: _Pass, stream: Tensor, keys_alone: bool) -> Tensor | None:
        """What a layer's attention adds to the stream; None where its keys and values alone are asked for."""
        packing = forward.cache.position.packing
        normed = self._normed(stream, self.norms[index][0])
        heads = self._product("qkv", index, forward, normed).unflatten(-1, (-1, self.width))
        heads = packing.unpack(heads)  # (rows, tokens, heads, width)
        rotated = torch.view_as_complex(heads[:, :, : -self.keys].float().unflatten(-1, (-1, 2))) * forward.rotation
        query, key = torch.view_as_real(rotated).flatten(-2).to(heads.dtype).split([self.heads, self.keys], dim=2)
        layer = forward.cache.layers[index]
        keys, values = layer.update(key.transpose(1, 2), heads[:, :, -self.keys :].transpose(1, 2))
        if keys_alone:
            return None
        query = query.unflatten(2, (self.keys, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)  # those of a key: its rows
        mixed = functional.scaled_dot_product_attention(query, keys, values, forward.mask, scale=self.scale)
        mixed = mixed.unflatten(2, (-1, heads.shape[1])).permute(0, 3, 1, 2, 4).flatten(2)
        return self._product("out", index, forward, packing.pack(mixed))

    def _product(self, name: str, index: int, forward: _Pass, rows: Tensor) -> Tensor:
        """Rows times a layer's packed weights, and what each checkpoint adds for its own rows."""
        product: Tensor = self.layers[index][name](rows)
        for addition in forward.additions:
            addition.add(name, index, product, rows)
        return product

    def _mask(self, cache: RowCache, dtype: torch.dtype) -> Tensor:
        """(rows, 1, queries of a key, span): 0 where a token may look, -inf elsewhere."""
        (visible,) = cache.position.masks().values()
        mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, float("-inf"))
        return mask.repeat(1, 1, self.heads // self.keys, 1) if mask.shape[2] > 1 else mask

    def _normed(self, stream: Tensor, weight: Tensor) -> Tensor:
        """The stream normed, and times the norm's weight where the products that follow have not taken it over."""
        wide = stream.float()
        normed = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(stream.dtype)
        return normed if self.folds_norms else normed * weight


def packed_network(network: PreTrainedModel) -> PackedNetwork | None:
    """The network written out; None where it is another kind, not on the CPU, hooked or with adapters in it."""
    config = network.config
    plain = (
        config.model_type in KNOWN
        and config.hidden_act == "silu"
        and not any(kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ())
        and not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
        and not any(isinstance(module, AdaptedLinear) for module in network.modules())
    )
    return PackedNetwork(network) if plain and all(packable(weight) for weight in network.parameters()) else None


def _concatenated(biases: Sequence[Tensor | None]) -> Tensor | None:
    present = [bias for bias in biases if bias is not None]
    return torch.cat(present) if present else None
