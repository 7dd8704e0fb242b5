"""Prompts into a cache: in blocks of 8 tokens, and a beginning that several share is read once. Knows tokens only.

Blocks start at multiples of 8, so which tokens are read together depends on nothing but the prompt itself: it gets the
same keys and values whatever is read beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from spillover.models.forward.packed_network import See, packed_network
from spillover.models.forward.row_cache import RowCache

BLOCK = 8  # tokens of a prompt read at once
TokenIds = tuple[int, ...]


class Reader(Protocol):
    """A network that reads and writes at a cache's place."""

    def read(self, tokens: Any, cache: RowCache, see: See = None) -> None:
        """Put the keys and values of `tokens` (rows, tokens) there."""

    def write(self, tokens: Any, cache: RowCache, see: See = None) -> Any:
        """Logits (rows, vocabulary), float, after `tokens` (rows, 1), whose keys and values go there."""

    def score(self, tokens: Any, cache: RowCache) -> Any:
        """Logits (rows, tokens, vocabulary), float, after each of `tokens` (rows, tokens), which go there."""


class Watch(Protocol):
    """Who looks on while prompts are read, by a network that shows what is inside it."""

    def read_next(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """The next that is seen are blocks of these rows' prompts; so many tokens of each count."""

    def see(self, site: str, hidden: Any) -> None:
        """What is at a site, to be copied: (tokens, d_model), row by row, of those that count."""

    def share(self, source: Sequence[int]) -> None:
        """Every row has had what the row that is named for it read since the last call; (rows,)."""

    def last_next(self, keys: Sequence[tuple[int, TokenIds]]) -> None:
        """The next that is seen is the last token of every row's prompt; `keys`: its model and its prompt."""

    def done(self) -> None:
        """All of these prompts have been read."""


class Plain:
    """Any network of transformers that takes a cache."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def read(self, tokens: Any, cache: RowCache, see: See = None) -> None:
        assert see is None, "only networks that are written out show what is inside them"
        forward(self.network.base_model, tokens, cache)

    def write(self, tokens: Any, cache: RowCache, see: See = None) -> Any:
        assert see is None, "only networks that are written out show what is inside them"
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
    watch: Watch | None = None,
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
        if watch:
            watch.read_next(rows, counts)
        network.read(_index(cache, blocks), cache, watch.see if watch else None)
        cache.share(_index(cache, source), start, end)
        if watch:
            watch.share(source)
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
