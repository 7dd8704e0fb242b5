"""The first blocks of a llama-like network, run over answers that come after questions which were read before.

A question is read once, by the network as it is; its keys and values serve all its answers, in every block. An adapter
in the upper blocks is for the answers' tokens alone, so that what lies below it, and the questions, can be kept on disk
while it is fitted.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from spillover.models.adapted_linear import AdaptedLinear
from spillover.models.lora_weights import LoRAWeights

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

KNOWN = ("llama", "qwen2")  # networks whose blocks are what `run_block` computes
PROJECTIONS = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)


@dataclass(frozen=True)
class Prefix:
    """Keys and values of questions, (rows, heads, tokens, width) for each block; `lengths` (rows,) of them are real."""

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    lengths: Tensor


class Trunk:
    """The first `count` blocks of a network."""

    def __init__(self, network: PreTrainedModel, count: int) -> None:
        if network.config.model_type not in KNOWN:
            raise ValueError(
                f"the reader reads with networks of the kinds {' and '.join(KNOWN)}, not {network.config.model_type}"
            )
        inner = network.base_model
        if len(inner.layers) < count:
            raise ValueError(f"the reader's part was fitted on {count} blocks, this trunk has {len(inner.layers)}")
        self.embed, self.rotary, self.blocks = inner.embed_tokens, inner.rotary_emb, list(inner.layers[:count])
        self.width = network.config.hidden_size

    def read_questions(self, tokens: Tensor, lengths: Tensor) -> Prefix:
        """The prefix that questions are; tokens (rows, tokens), filled up on the right."""
        span = tokens.shape[1]
        states, rotation = self.embed(tokens), self.rotation(torch.zeros_like(lengths), span)
        mask = torch.ones(span, span, dtype=torch.bool, device=tokens.device).tril()[None, None]
        keys, values = [], []
        for number, block in enumerate(self.blocks):
            key, value = keys_and_values(block, states, rotation)
            keys.append(key)
            values.append(value)
            if number + 1 < len(self.blocks):  # the last block's own states are nobody's
                states = run_block(block, states, rotation, (key, value), mask)
        return Prefix(keys, values, lengths)

    def rotation(self, starts: Tensor, span: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the positions from each row's start on, (rows, 1, span, width of a head) each."""
        positions = starts[:, None] + torch.arange(span, device=starts.device)
        cosine, sine = self.rotary(self.embed.weight, positions)
        return cosine[:, None], sine[:, None]

    def run(self, blocks: Sequence[nn.Module], states: Tensor, prefix: Prefix) -> Tensor:
        """The answers' states (rows, tokens, width) after these blocks; the prefix holds as many."""
        span, held = states.shape[1], prefix.keys[0].shape[2]
        rotation = self.rotation(prefix.lengths, span)
        asked = torch.arange(held, device=states.device) < prefix.lengths[:, None]
        own = torch.ones(span, span, dtype=torch.bool, device=states.device).tril()
        mask = torch.cat([asked[:, None].expand(-1, span, -1), own.expand(len(states), -1, -1)], dim=2)[:, None]
        for block, key, value in zip(blocks, prefix.keys, prefix.values, strict=True):
            new_key, new_value = keys_and_values(block, states, rotation)
            seen = torch.cat([key, new_key], dim=2), torch.cat([value, new_value], dim=2)
            states = run_block(block, states, rotation, seen, mask)
        return states


def keys_and_values(block: nn.Module, states: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What a block's attention looks at of these states, (rows, heads, tokens, width) each."""
    attention, normed = block.self_attn, block.input_layernorm(states)
    key, value = (_heads(attention, projection(normed)) for projection in (attention.k_proj, attention.v_proj))
    return _rotated(key, rotation), value


def run_block(
    block: nn.Module,
    states: Tensor,
    rotation: tuple[Tensor, Tensor],
    seen: tuple[Tensor, Tensor],
    mask: Tensor,
) -> Tensor:
    """States (rows, tokens, width) after a block; `mask` (rows, 1, tokens, seen) is true where a token may look."""
    attention = block.self_attn
    query = _rotated(_heads(attention, attention.q_proj(block.input_layernorm(states))), rotation)
    mixed = functional.scaled_dot_product_attention(
        query, *seen, attn_mask=mask, scale=attention.scaling, enable_gqa=True
    )
    states = states + attention.o_proj(mixed.transpose(1, 2).flatten(2))
    result: Tensor = states + block.mlp(block.post_attention_layernorm(states))
    return result


def _heads(attention: nn.Module, rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _rotated(rows: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotation
    first, second = rows.chunk(2, dim=-1)
    return rows * cosine + torch.cat([-second, first], dim=-1) * sine


def adapted(blocks: Sequence[nn.Module], adapter: Mapping[str, LoRAWeights], merge: bool = True) -> list[nn.Module]:
    """Copies of blocks with an adapter in them (or, unmerged, beside them); its names: `0.mlp.up_proj` in the first.

    What it does not name is shared with the blocks as they are.
    """
    copies = [_shallow(block) for block in blocks]
    for name, weights in adapter.items():
        number, _, path = name.partition(".")
        parent, _, leaf = path.rpartition(".")
        place = copies[int(number)].get_submodule(parent)
        linear = getattr(place, leaf)
        layer = AdaptedLinear(linear, weights)
        if merge:
            merged = torch.nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
            merged.weight = torch.nn.Parameter(layer.merged().to(linear.weight.dtype), requires_grad=False)
            merged.bias = linear.bias
            setattr(place, leaf, merged)
        else:
            setattr(place, leaf, layer)
    return copies


def _shallow(module: nn.Module) -> nn.Module:
    """A module with copies of its modules, all the way down, and the very weights."""
    result = copy.copy(module)
    result._modules = {name: child and _shallow(child) for name, child in module._modules.items()}
    return result


def normed(states: Tensor) -> Tensor:
    """States (..., width) each divided by its root mean square."""
    return states.float() * torch.rsqrt(states.float().pow(2).mean(-1, keepdim=True) + 1e-6)


def pooled(states: Tensor, lengths: Tensor) -> Tensor:
    """(rows, 2 width): the mean over an answer's tokens, its end mark not among them, and the state at the end mark."""
    states = normed(states)
    last = lengths - 1  # the end mark
    real = torch.arange(states.shape[1], device=states.device) < last[:, None]
    share = real / last.clamp(min=1)[:, None]
    mean = torch.einsum("rt,rtw->rw", share.to(states.dtype), states)
    end = states[torch.arange(len(states), device=states.device), last]
    return torch.cat([mean, end], dim=1)
