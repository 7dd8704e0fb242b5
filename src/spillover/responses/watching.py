"""Who looks on while prompts are read: several at once, and prompts read for them alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.packed_network import PackedNetwork
from spillover.models.forward.prompt_reading import BLOCK, TokenIds, Watch, read_prompts
from spillover.models.forward.row_cache import RowCache, evenly, up
from spillover.responses.samplers.local.decoding import ROW_MULTIPLE
from spillover.store import ProgressFn

ROWS = 128  # prompts read at once, at most


class Watches:
    """Several who look on at once; a `Watch` itself."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self.watches = watches

    def read_next(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """All hear it."""
        for watch in self.watches:
            watch.read_next(rows, tokens)

    def see(self, site: str, hidden: object) -> None:
        """All see it."""
        for watch in self.watches:
            watch.see(site, hidden)

    def share(self, source: Sequence[int]) -> None:
        """All hear it."""
        for watch in self.watches:
            watch.share(source)

    def last_next(self, keys: Sequence[tuple[int, TokenIds]]) -> None:
        """All hear it."""
        for watch in self.watches:
            watch.last_next(keys)

    def done(self) -> None:
        """All hear it."""
        for watch in self.watches:
            watch.done()


def show(
    opened: LoadedModels, prompts: Sequence[TokenIds], watch: Watch, progress: ProgressFn, rows: int = ROWS
) -> None:
    """Read every prompt to its last token, with the model at 0, for who looks on alone.

    `opened` must be written out; `progress` hears the share done.
    """
    network = opened.reader
    assert isinstance(network, PackedNetwork)
    order, done = sorted(set(prompts)), 0  # those that begin alike beside one another: what they share is read once
    rows = evenly(len(order), rows, ROW_MULTIPLE)  # one cache for all batches
    with torch.inference_mode():
        cache = RowCache(opened.loaded.network, rows, up(max(map(len, order)), BLOCK))
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            filled = [*batch, *[batch[-1]] * (rows - len(batch))]
            read_prompts(network, cache, filled, watch=watch)
            watch.last_next([(0, prompt) for prompt in filled])
            positions = torch.tensor([[len(prompt) - 1] for prompt in filled])
            cache.position.move(torch.arange(len(filled)), positions, every=True)
            network.look(torch.tensor([[prompt[-1]] for prompt in filled]), cache, watch.see)
            watch.done()
            done += len(batch)
            progress(done / len(order))
