"""Networks that read and write at a cache's position, and prompts read into that cache.

Prompts are read in blocks of 8 tokens, and a beginning that several share is read once. Blocks start at multiples of 8,
so which tokens are read together depends on nothing but the prompt itself: it gets the same keys and values whatever is
read beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from spillover.models.forward.attention_mask import attention_mask
from spillover.models.forward.row_cache import RowCache

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.utils import ModelOutput

BLOCK = 8  # tokens of a prompt read at once
TokenIds = tuple[int, ...]


class CachedNetwork(Protocol):
    """A network that reads and writes at a cache's position."""

    def prefill(self, tokens: Tensor, cache: RowCache) -> None:
        """Put the keys and values of `tokens` (rows, tokens) there."""

    def next_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        """Logits (rows, vocabulary), float, after `tokens` (rows, 1), whose keys and values go there."""

    def all_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        """Logits (rows, tokens, vocabulary), float, after each of `tokens` (rows, tokens), which go there."""


class TransformersNetwork:
    """Any network of transformers that takes a cache."""

    def __init__(self, network: PreTrainedModel) -> None:
        self.network = network

    def prefill(self, tokens: Tensor, cache: RowCache) -> None:
        forward(self.network.base_model, tokens, cache)

    def next_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        logits: Tensor = forward(self.network, tokens, cache).logits
        return logits[:, -1].float()

    def all_logits(self, tokens: Tensor, cache: RowCache) -> Tensor:
        logits: Tensor = forward(self.network, tokens, cache).logits
        return logits.float()


def read_prompts(
    network: CachedNetwork, cache: RowCache, prompts: Sequence[TokenIds], held: Sequence[TokenIds] = ()
) -> Sequence[TokenIds]:
    """Fill the cache with the keys and values of every row's prompt, all but the last token's; returns what it holds.

    `held` is what the cache held before (as returned; nothing, if it was used for anything else since): a block that a
    row of it begins with is taken over from there.
    """
    heads, groups = [prompt[:-1] for prompt in prompts], cache.groups
    for start in range(0, max(map(len, heads)), BLOCK):
        end = start + BLOCK
        old_rows = {beginning[:end]: row for row, beginning in reversed([*enumerate(held)]) if len(beginning) >= end}
        if old_rows:
            sources = [old_rows.get(head[:end], row) for row, head in enumerate(heads)]
            cache.copy_positions(_tensor(cache, sources), start, end)
        readers: dict[tuple[int, TokenIds], int] = {}  # the row that reads a block for all that have come so far alike
        sources = [
            row if len(head) <= start or head[:end] in old_rows else readers.setdefault((groups[row], head[:end]), row)
            for row, head in enumerate(heads)
        ]
        if not readers:
            continue
        blocks = [[*beginning[start:], *[0] * (end - len(beginning))] for _, beginning in readers]
        positions = torch.arange(start, end, device=cache.device).expand(len(blocks), BLOCK)
        counts = [len(beginning) - start for _, beginning in readers]
        rows = list(readers.values())
        every = rows == [*range(len(prompts))]
        cache.position.move(_tensor(cache, rows), positions, every, counts)
        network.prefill(_tensor(cache, blocks), cache)
        cache.copy_positions(_tensor(cache, sources), start, end)
    return heads


def forward(network: PreTrainedModel, tokens: Tensor, cache: RowCache) -> ModelOutput:
    """The network's output over tokens (rows, tokens) at the cache's position."""
    output: ModelOutput = network(
        input_ids=tokens,
        position_ids=cache.position.positions,
        attention_mask=attention_mask(network, cache.position.masks()),
        cache=cache,
        use_cache=True,
    )
    return output


def _tensor(cache: RowCache, numbers: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor(numbers, device=cache.device)
