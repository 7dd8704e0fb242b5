"""Pooled activations from a prompt pass in blocks: sums go along as rows go on alike. Knows sites and numbers, no file.

A prompt's numbers have the same bits whatever is read beside it, by the sampler or for this alone. They agree with
`capture` to rounding (about 1e-6 of a vector's norm).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from spillover.models.forward.prompt_reading import BLOCK, TokenIds
from spillover.models.forward.row_cache import Packing

Put = Callable[[list[int], np.ndarray], None]


class PromptPass:
    """Looks on while prompts are read (a `Watch`): each site's mean over the prompt, and its last token.

    places: by model and prompt, the rows that its activations go to. sites: the names that are kept, in order.
    poolings: `last` and `mean`. width: d_model. put: gets rows and their block (sites x poolings, rows, d_model).
    """

    def __init__(
        self,
        places: Mapping[tuple[int, TokenIds], list[int]],
        sites: Sequence[str],
        poolings: Sequence[str],
        width: int,
        put: Put,
    ) -> None:
        self.places, self.poolings, self.put = dict(places), poolings, put
        self.number = {site: index for index, site in enumerate(sites)}
        self.width = width
        self.block: dict[str, Any] = {}
        self.sums: Any = None
        self.keys: Sequence[tuple[int, TokenIds]] = ()

    def read_next(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Blocks of these rows come; so many tokens of each count."""
        self.readers = {row: index for index, row in enumerate(rows)}
        self.inside = Packing(len(rows), BLOCK, tokens)

    def see(self, site: str, hidden: Any) -> None:
        """A block's sum over its tokens, or a last token."""
        if (number := self.number.get(site)) is None:
            return
        if self.keys:
            self.last[number] = hidden
            return
        self.block[site] = self.inside.unpack(hidden.float()).sum(dim=1)  # over whole blocks: in the same order

    def share(self, source: Sequence[int]) -> None:
        """Rows that go on alike have the same sums."""
        self._room(len(source))
        rows = [row for row, reader in enumerate(source) if reader in self.readers]
        of = torch.tensor([self.readers[source[row]] for row in rows])
        into = torch.tensor(rows)
        for site, number in self.number.items():
            self.sums[number].index_add_(0, into, self.block[site][of])

    def last_next(self, keys: Sequence[tuple[int, TokenIds]]) -> None:
        """Last tokens come."""
        self._room(len(keys))
        self.keys, self.last = keys, torch.empty_like(self.sums)

    def done(self) -> None:
        """Put what is wanted of these prompts, each once."""
        rows = {key: row for row, key in enumerate(self.keys) if key in self.places}
        if rows:
            at = torch.tensor(list(rows.values()))
            last = self.last[:, at]
            lengths = torch.tensor([len(prompt) for _, prompt in rows])
            pooled = {"last": last, "mean": (self.sums[:, at] + last) / lengths[:, None]}
            block = torch.stack([pooled[pooling] for pooling in self.poolings], dim=1).flatten(0, 1).numpy()
            for index, key in enumerate(rows):
                places = self.places.pop(key)
                self.put(places, block[:, [index] * len(places)])
        self.keys, self.sums = (), None

    def _room(self, rows: int) -> None:
        if self.sums is None:
            self.sums = torch.zeros(len(self.number), rows, self.width)
