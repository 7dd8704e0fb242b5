"""What checkpoints' adapters add to the products of a network written out, row by row of a batch.

Their products are plain ones: packing gains nothing for so thin matrices. So that a row has the same bits whatever
stands beside it, rows go through them in multiples of 8, as they go through every product that is not packed; and those
of several checkpoints in one batched product, which has the bits of the single ones (tests hold it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

MULTIPLE = 8
SMALL = 400  # multiplications below which torch leaves a batched product to a loop of its own, with other bits
WASTE = 2  # slots for each row, at most, in a batched product; else models one after another
Projection = tuple[int, tuple["Tensor", "Tensor"] | None]  # how many outputs; down and up of what is added to them


@dataclass(frozen=True)
class LoRADelta:
    """What an adapter adds to a product: which of its columns change, and the adapter's matrices.

    down: (rank of all, in), those of all projections; ups: first column, first rank, (out, rank).
    """

    down: Tensor
    ups: Sequence[tuple[int, int, Tensor]]

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for those that can go into one batched product."""
        return (self.down.shape, *((column, rank, up.shape) for column, rank, up in self.ups))

    @property
    def smallest_product(self) -> int:
        """Multiplications of a row in the smallest of its products."""
        return int(min(self.down.numel(), *(up.numel() for _, _, up in self.ups)))

    def add(self, product: Tensor, rows: Tensor) -> None:
        """Add to `product` (..., out), in place, what belongs to `rows` (..., in)."""
        flat = rows.flatten(0, -2)
        count = len(flat)
        if missing := -count % MULTIPLE:
            flat = functional.pad(flat, (0, 0, 0, missing))
        low, columns = functional.linear(flat, self.down), product.view(count, -1)
        for column, rank, up in self.ups:
            added = functional.linear(low[:, rank : rank + up.shape[1]], up)
            columns[:, column : column + len(up)].add_(added[:count])


def lora_delta(projections: Sequence[Projection], norm: Tensor | None = None) -> LoRADelta | None:
    """One delta for all projections of a product; None where nothing is added to any.

    norm: (in,) weights by which the rows are multiplied before.
    """
    downs, ups, column, rank = [], [], 0, 0
    for outputs, weights in projections:
        if weights is not None:
            down, up = weights
            downs.append(down)
            ups.append((column, rank, up.contiguous()))
            rank += len(down)
        column += outputs
    if not downs:
        return None
    down = torch.cat(downs)
    return LoRADelta((down if norm is None else down * norm).detach(), tuple(ups))


LoRADeltas = Sequence[Mapping[str, LoRADelta]]  # of a checkpoint: by layer, then by product


@dataclass(frozen=True)
class CheckpointDeltas:
    """What each of the models that are asked together adds, in order; None: nothing."""

    deltas: Sequence[LoRADeltas | None]

    def for_rows(self, groups: Sequence[int]) -> Sequence[RowSlice | BatchedDelta]:
        """How to add what belongs to the rows of a product; `groups` (rows,): the number of each row's model."""
        sizes = [groups.count(number) for number in range(len(self.deltas))]
        slots = -(-max(sizes) // MULTIPLE) * MULTIPLE
        if self.stacks is not None and len(sizes) > 1 and slots * len(sizes) <= WASTE * len(groups):
            return [BatchedDelta(self.stacks, *_slots(groups, len(sizes), slots))]
        slices, start = [], 0
        for number, rows in groupby(groups):
            end = start + sum(1 for _ in rows)
            if deltas := self.deltas[number]:
                slices.append(RowSlice(deltas, slice(start, end)))
            start = end
        return slices

    @cached_property
    def stacks(self) -> LoRADeltas | None:
        """All of them in one, (models, ...) each matrix; None where their shapes differ or a product is too small."""
        first, *others = self.deltas
        if first is None or any(other is None for other in others):
            return None
        stacks = []
        for layers in zip(first, *(other for other in others if other is not None), strict=True):
            if any(layer.keys() != layers[0].keys() for layer in layers):
                return None
            deltas = {name: [layer[name] for layer in layers] for name in layers[0]}
            for alike in deltas.values():
                unlike = any(delta.shape != alike[0].shape for delta in alike)
                if unlike or alike[0].smallest_product * MULTIPLE < SMALL:
                    return None
            stacks.append({name: _stack(alike) for name, alike in deltas.items()})
        return stacks


@dataclass(frozen=True)
class RowSlice:
    """One model's rows, which stand beside one another."""

    deltas: LoRADeltas
    rows: slice

    def add(self, name: str, layer: int, product: Tensor, rows: Tensor) -> None:
        """Add to its rows of `product` what its adapter makes of those of `rows`."""
        if delta := self.deltas[layer].get(name):
            delta.add(product[self.rows], rows[self.rows])


@dataclass(frozen=True)
class BatchedDelta:
    """Rows of all models at once: which row is in a slot, (models, slots), and in which slot a row is, (rows,)."""

    stacks: LoRADeltas
    row_of_slot: Tensor
    slot_of_row: Tensor

    def add(self, name: str, layer: int, product: Tensor, rows: Tensor) -> None:
        """Add to every row of `product` what the adapter of its model makes of it."""
        if (delta := self.stacks[layer].get(name)) is None:
            return
        flat = rows.flatten(0, -2)
        low = torch.bmm(flat[self.row_of_slot], delta.down.transpose(1, 2))
        columns = product.view(len(flat), -1)
        for column, rank, up in delta.ups:
            added = torch.bmm(low[:, :, rank : rank + up.shape[2]], up.transpose(1, 2))
            columns[:, column : column + up.shape[1]].add_(added.flatten(0, 1)[self.slot_of_row])


def _stack(deltas: Sequence[LoRADelta]) -> LoRADelta:
    ups = [
        (column, rank, torch.stack([delta.ups[index][2] for delta in deltas]))
        for index, (column, rank, _) in enumerate(deltas[0].ups)
    ]
    return LoRADelta(torch.stack([delta.down for delta in deltas]), tuple(ups))


def _slots(groups: Sequence[int], models: int, slots: int) -> tuple[Tensor, Tensor]:
    """`row_of_slot` and `slot_of_row` of a `BatchedDelta`."""
    row_of_slot = torch.zeros(models, slots, dtype=torch.long)
    slot_of_row = torch.zeros(len(groups), dtype=torch.long)
    for number in range(models):
        own_rows = torch.tensor([row for row, group in enumerate(groups) if group == number], dtype=torch.long)
        row_of_slot[number, : len(own_rows)] = own_rows
        slot_of_row[own_rows] = number * slots + torch.arange(len(own_rows))
    return row_of_slot, slot_of_row
