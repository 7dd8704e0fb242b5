"""Prompts into a cache: in blocks of 8 tokens, and a beginning that several share is read once. Knows tokens only.

Blocks start at multiples of 8, so which tokens are read together depends on nothing but the prompt itself: it gets the
same keys and values whatever is read beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from spillover.models.forward.packed_network import packed_network
from spillover.models.forward.row_cache import RowCache

BLOCK = 8  # tokens of a prompt read at once
TokenIds = tuple[int, ...]


class Reader(Protocol):
    """A network that reads and writes at a cache's place."""

    def read(self, tokens: Any, cache: RowCache) -> None:
        """Put the keys and values of `tokens` (rows, tokens) there."""

    def write(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, vocabulary), float, after `tokens` (rows, 1), whose keys and values go there."""

    def score(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, tokens, vocabulary), float, after each of `tokens` (rows, tokens), which go there."""


class Plain:
    """Any network of transformers that takes a cache."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def read(self, tokens: Any, cache: RowCache) -> None:
        forward(self.network.base_model, tokens, cache)

    def write(self, tokens: Any, cache: RowCache) -> Any:
        return forward(self.network, tokens, cache).logits[:, -1].float()

    def score(self, tokens: Any, cache: RowCache) -> Any:
        return forward(self.network, tokens, cache).logits.float()


def reader(network: Any) -> Reader:
    """The quickest way to read and write with a network."""
    return packed_network(network) or Plain(network)


def read_prompts(
    network: Reader,
    cache: RowCache,
    prompts: Sequence[TokenIds],
    held: Sequence[TokenIds] = (),
) -> Sequence[TokenIds]:
    """Fill the cache with the keys and values of every row's prompt, all but the last token's; returns what it holds.

    `held` is what the cache held before (as returned; nothing, if it was used for anything else since): a block that a
    row of it begins with is taken over from there.
    """
    heads, groups = [prompt[:-1] for prompt in prompts], cache.groups
    for start in range(0, max(map(len, heads)), BLOCK):
        end = start + BLOCK
        kept = {beginning[:end]: row for row, beginning in reversed([*enumerate(held)]) if len(beginning) >= end}
        if kept:
            cache.share(_index(cache, [kept.get(head[:end], row) for row, head in enumerate(heads)]), start, end)
        reader: dict[tuple[int, TokenIds], int] = {}  # the row that reads a block for all that have come so far alike
        source = [
            row if len(head) <= start or head[:end] in kept else reader.setdefault((groups[row], head[:end]), row)
            for row, head in enumerate(heads)
        ]
        if not reader:
            continue
        blocks = [[*beginning[start:], *[0] * (end - len(beginning))] for _, beginning in reader]
        positions = torch.arange(start, end, device=cache.device).expand(len(blocks), BLOCK)
        counts = [len(beginning) - start for _, beginning in reader]
        rows = list(reader.values())
        every = rows == [*range(len(prompts))]
        cache.position.move(_index(cache, rows), positions, every, counts)
        network.read(_index(cache, blocks), cache)
        cache.share(_index(cache, source), start, end)
    return heads


def forward(network: Any, tokens: Any, cache: RowCache) -> Any:
    """The network over tokens (rows, tokens) at the cache's place."""
    return network(
        input_ids=tokens,
        position_ids=cache.position.positions,
        attention_mask=cache.position.masks(),
        cache=cache,
        use_cache=True,
    )


def _index(cache: RowCache, numbers: Sequence[Any]) -> Any:
    return torch.tensor(numbers, device=cache.device)
