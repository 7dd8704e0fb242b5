"""The trunk of llama-like networks, written out for few tokens of many rows at a time. Knows weights and a cache.

Same sums as transformers' own modules in fewer and larger operations: one product for queries, keys and values, one for
gate and up, the norms' weights multiplied into the products that follow, queries that share keys beside one another
(so that no key is copied), rotary pairs side by side. Weights are packed (`models/packing.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from spillover.models.packing import Packed, packable
from spillover.responses.cache import RowCache

KNOWN = ("llama", "qwen2")


@dataclass(frozen=True)
class _Layer:
    """One layer's products."""

    qkv: Packed
    out: Packed
    gate_up: Packed
    down: Packed


class Llama:
    """A network that `written_out` knows."""

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
        self.layers = [self._layer(layer) for layer in inner.layers]
        head = network.get_output_embeddings()
        self.head = Packed(head.weight * inner.norm.weight, head.bias)

    def read(self, tokens: Any, cache: RowCache) -> None:
        """Put the keys and values of `tokens` (rows, tokens) at the cache's place."""
        self._through(tokens, cache, write=False)

    def write(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, vocabulary) after `tokens` (rows, 1), which go to the cache's place."""
        return self.head(self._through(tokens, cache, write=True)[:, -1])

    def _layer(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        before, between = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        projections = [
            (self._paired(attention.q_proj.weight), self._paired(attention.q_proj.bias)),
            (self._paired(attention.k_proj.weight), self._paired(attention.k_proj.bias)),
            (attention.v_proj.weight, attention.v_proj.bias),
        ]
        return _Layer(
            qkv=Packed(torch.cat([weight for weight, _ in projections]) * before, _joined([b for _, b in projections])),
            out=Packed(attention.o_proj.weight, attention.o_proj.bias),
            gate_up=Packed(
                torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * between,
                _joined([mlp.gate_proj.bias, mlp.up_proj.bias]),
            ),
            down=Packed(mlp.down_proj.weight, mlp.down_proj.bias),
        )

    def _paired(self, weight: Any) -> Any:
        """Rows of a projection, head by head, with the two that are rotated together beside one another."""
        if weight is None:
            return None
        return weight.unflatten(0, (-1, self.width))[:, self.pairs].flatten(0, 1)

    def _through(self, tokens: Any, cache: RowCache, write: bool) -> Any:
        """The normed stream after the last layer; while only reading, no more than its keys and values."""
        stream = self.embed(tokens)
        cos, sin = (part[..., : self.width // 2] for part in self.rotary(stream, cache.place.positions))
        turn, mask = torch.complex(cos, sin)[:, :, None], self._mask(cache)
        for index, layer in enumerate(self.layers):
            if not self._attend(layer, stream, turn, mask, cache.layers[index], write or index + 1 < len(self.layers)):
                break
            gate, up = layer.gate_up(self._normed(stream)).chunk(2, dim=-1)
            stream += layer.down(functional.silu(gate).mul_(up))
        return self._normed(stream)

    def _attend(self, layer: _Layer, stream: Any, turn: Any, mask: Any, kept: Any, further: bool) -> bool:
        """Add a layer's attention to the stream in place; not `further`: keep its keys and values alone."""
        rows, tokens, _ = stream.shape
        heads = layer.qkv(self._normed(stream)).view(rows, tokens, -1, self.width)
        turned = torch.view_as_complex(heads[:, :, : -self.keys].unflatten(-1, (-1, 2))) * turn
        query, key = torch.view_as_real(turned).flatten(-2).split([self.heads, self.keys], dim=2)
        keys, values = kept.update(key.transpose(1, 2), heads[:, :, -self.keys :].transpose(1, 2))
        if further:
            query = query.unflatten(2, (self.keys, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)  # those of a key: its rows
            found = functional.scaled_dot_product_attention(query, keys, values, mask, scale=self.scale)
            found = found.unflatten(2, (-1, tokens)).permute(0, 3, 1, 2, 4).flatten(2)
            stream += layer.out(found)
        return further

    def _mask(self, cache: RowCache) -> Any:
        """(rows, 1, queries of a key, span): 0 where a token may look, -inf elsewhere."""
        may = cache.place.masks()
        mask = torch.zeros(may.shape).masked_fill_(~may, float("-inf"))
        return mask.repeat(1, 1, self.heads // self.keys, 1) if mask.shape[2] > 1 else mask

    def _normed(self, stream: Any) -> Any:
        return stream * torch.rsqrt(stream.square().mean(-1, keepdim=True) + self.eps)


def written_out(network: Any) -> Llama | None:
    """The network written out; None where it is another kind, elsewhere than on the CPU in float32, or hooked."""
    config = network.config
    plain = (
        config.model_type in KNOWN
        and config.hidden_act == "silu"
        and not any(kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ())
        and not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    )
    return Llama(network) if plain and all(packable(weight) for weight in network.parameters()) else None


def _joined(biases: list[Any]) -> Any:
    return None if all(bias is None for bias in biases) else torch.cat(biases)
