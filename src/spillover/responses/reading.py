"""Prompts into a cache: in blocks of 8 tokens, and a beginning that several share is read once. Knows tokens only.

Blocks start at multiples of 8, so which tokens are read together depends on nothing but the prompt itself: it gets the
same keys and values whatever is read beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from spillover.models.loading import Loaded
from spillover.responses.cache import RowCache

BLOCK = 8  # tokens of a prompt read at once
Tokens = tuple[int, ...]


def read_prompts(
    loaded: Loaded, cache: RowCache, prompts: Sequence[Tokens], held: Sequence[Tokens] = ()
) -> Sequence[Tokens]:
    """Fill the cache with the keys and values of every row's prompt, all but the last token's; returns what it holds.

    `held` is what the cache held before (as returned; nothing, if it was used for anything else since): a block that a
    row of it begins with is taken over from there.
    """
    heads = [prompt[:-1] for prompt in prompts]
    for start in range(0, max(map(len, heads)), BLOCK):
        end = start + BLOCK
        kept = {beginning[:end]: row for row, beginning in reversed([*enumerate(held)]) if len(beginning) >= end}
        if kept:
            cache.share(_index(loaded, [kept.get(head[:end], row) for row, head in enumerate(heads)]), start, end)
        reader: dict[Tokens, int] = {}  # the row that reads a block for all rows that have come so far alike
        source = [
            row if len(head) <= start or head[:end] in kept else reader.setdefault(head[:end], row)
            for row, head in enumerate(heads)
        ]
        if not reader:
            continue
        blocks = [[*beginning[start:], *[0] * (end - len(beginning))] for beginning in reader]
        positions = torch.arange(start, end, device=loaded.device).expand(len(blocks), BLOCK)
        cache.place.move(_index(loaded, list(reader.values())), positions)
        forward(loaded.network.base_model, _index(loaded, blocks), cache)
        cache.share(_index(loaded, source), start, end)
    return heads


def forward(network: Any, tokens: Any, cache: RowCache) -> Any:
    """The network over tokens (rows, tokens) at the cache's place."""
    return network(
        input_ids=tokens,
        position_ids=cache.place.positions,
        attention_mask=cache.place.masks(),
        cache=cache,
        use_cache=True,
    )


def _index(loaded: Loaded, numbers: Sequence[Any]) -> Any:
    return torch.tensor(numbers, device=loaded.device)
