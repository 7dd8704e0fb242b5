"""What checkpoints' adapters add to the products of a network written out. Knows thin matrices and rows.

Thin products are plain ones: packing gains nothing for them. So that a row has the same bits whatever stands beside
it, rows go through them in multiples of 8, as they go through every product that is not packed; and those of several
checkpoints in one batched product, which has the bits of the single ones (tests hold it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch.nn import functional

MULTIPLE = 8
SMALL = 400  # multiplications below which torch leaves a batched product to a loop of its own, with other bits
WASTE = 2  # slots for each row, at most, in a batched product; else models one after another
Projection = tuple[
    int, tuple[Any, Any] | None
]  # outputs of one of the projections in a product; down and up of what is added


@dataclass(frozen=True)
class LoRADelta:
    """For each projection that changes: which columns of the product it is, and its thin matrices.

    down: (rank of all, in), those of all projections; ups: first column, first rank, (out, rank).
    """

    down: Any
    ups: Sequence[tuple[int, int, Any]]

    @property
    def shape(self) -> tuple[Any, ...]:
        """Equal for those that can go into one batched product."""
        return (self.down.shape, *((column, rank, up.shape) for column, rank, up in self.ups))

    @property
    def least(self) -> int:
        """Multiplications of a row in the smallest of its products."""
        return int(min(self.down.numel(), *(up.numel() for _, _, up in self.ups)))

    def add(self, product: Any, rows: Any) -> None:
        """Add to `product` (..., out), in place, what belongs to `rows` (..., in)."""
        flat = rows.flatten(0, -2)
        count = len(flat)
        if missing := -count % MULTIPLE:
            flat = functional.pad(flat, (0, 0, 0, missing))
        low, into = functional.linear(flat, self.down), product.view(count, -1)
        for column, rank, up in self.ups:
            part = functional.linear(low[:, rank : rank + up.shape[1]], up)
            into[:, column : column + len(up)].add_(part[:count])


def lora_delta(parts: Sequence[Projection], norm: Any = None) -> LoRADelta | None:
    """One thin product for all projections of a product; None where nothing is added to any.

    norm: (in,) weights by which the rows are multiplied before.
    """
    downs, ups, column, rank = [], [], 0, 0
    for size, part in parts:
        if part is not None:
            downs.append(part[0])
            ups.append((column, rank, part[1].contiguous()))
            rank += len(part[0])
        column += size
    if not downs:
        return None
    down = torch.cat(downs)
    return LoRADelta((down if norm is None else down * norm).detach(), tuple(ups))


LoRADeltas = Sequence[Mapping[str, LoRADelta]]  # of a checkpoint: by layer, then by product


@dataclass(frozen=True)
class CheckpointDeltas:
    """What each of the models that are asked together adds, in order; None: nothing."""

    deltas: Sequence[LoRADeltas | None]

    def of(self, groups: Sequence[int]) -> Sequence[RowSlice | BatchedDelta]:
        """How to add what belongs to the rows of a product, (rows,) by model."""
        sizes = [groups.count(number) for number in range(len(self.deltas))]
        slots = -(-max(sizes) // MULTIPLE) * MULTIPLE
        if self.stacks is not None and len(sizes) > 1 and slots * len(sizes) <= WASTE * len(groups):
            return [BatchedDelta(self.stacks, *_slots(groups, len(sizes), slots))]
        found, start = [], 0
        for number, rows in groupby(groups):
            end = start + sum(1 for _ in rows)
            if deltas := self.deltas[number]:
                found.append(RowSlice(deltas, slice(start, end)))
            start = end
        return found

    @cached_property
    def stacks(self) -> LoRADeltas | None:
        """All of them in one, (models, ...) each matrix; None where their shapes differ."""
        first, *others = self.deltas
        if first is None:
            return None
        found = []
        for index, layer in enumerate(first):
            stacked = {}
            for name, delta in layer.items():
                alike = [delta, *(other[index].get(name) for other in others if other)]
                unlike = any(one is None or one.shape != delta.shape for one in alike)
                if len(alike) < len(self.deltas) or unlike or delta.least * MULTIPLE < SMALL:
                    return None
                stacked[name] = _batched([one for one in alike if one])
            found.append(stacked)
        return None if any(set(a) != set(b) for o in others if o for a, b in zip(o, first, strict=True)) else found


@dataclass(frozen=True)
class RowSlice:
    """One model's rows, which stand beside one another."""

    deltas: LoRADeltas
    rows: slice

    def add(self, name: str, layer: int, product: Any, rows: Any) -> None:
        """Add to its rows of `product` what its adapter makes of those of `rows`."""
        if delta := self.deltas[layer].get(name):
            delta.add(product[self.rows], rows[self.rows])


@dataclass(frozen=True)
class BatchedDelta:
    """Rows of all models at once: `there` (models, slots) says which row is in a slot, `back` (rows,) in which slot."""

    stacks: LoRADeltas
    there: Any
    back: Any

    def add(self, name: str, layer: int, product: Any, rows: Any) -> None:
        """Add to every row of `product` what the adapter of its model makes of it."""
        if (delta := self.stacks[layer].get(name)) is None:
            return
        flat = rows.flatten(0, -2)
        low = torch.bmm(flat[self.there], delta.down.transpose(1, 2))
        into = product.view(len(flat), -1)
        for column, rank, up in delta.ups:
            part = torch.bmm(low[:, :, rank : rank + up.shape[2]], up.transpose(1, 2))
            into[:, column : column + up.shape[1]].add_(part.flatten(0, 1)[self.back])


def _batched(deltas: Sequence[LoRADelta]) -> LoRADelta:
    ups = [
        (column, rank, torch.stack([delta.ups[index][2] for delta in deltas]))
        for index, (column, rank, _) in enumerate(deltas[0].ups)
    ]
    return LoRADelta(torch.stack([delta.down for delta in deltas]), tuple(ups))


def _slots(groups: Sequence[int], models: int, slots: int) -> tuple[Any, Any]:
    there, back = torch.zeros(models, slots, dtype=torch.long), torch.zeros(len(groups), dtype=torch.long)
    for number in range(models):
        own = torch.tensor([row for row, group in enumerate(groups) if group == number], dtype=torch.long)
        there[number, : len(own)] = own
        back[own] = number * slots + torch.arange(len(own))
    return there, back
