"""Keys and values of many rows, each row at its own position: what attention reads.

Keys lie left-aligned; the part in use has a length that is a multiple of `SPAN_MULTIPLE`, and what lies beyond a row's
own position is masked, not cut: so attention gives a row the same bits whatever the rows beside it hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

SPAN_MULTIPLE = 16


class Packing:
    """Rows of so many tokens each, of which the first `counts` (n,) count and the others fill up; None: all count."""

    def __init__(self, rows: int, tokens: int, counts: Sequence[int] | None = None) -> None:
        self.shape = (rows, tokens)
        self._counted: Tensor | None = None
        self._padded: Tensor | None = None
        if counts is not None and min(counts) < tokens:
            indices = [row * tokens + token for row, count in enumerate(counts) for token in range(count)]
            self._counted = torch.tensor(indices)

    def pack(self, padded: Tensor) -> Tensor:
        """Of what there is for all tokens, (n, tokens, ...), what belongs to those that count: (counted, ...)."""
        flat = padded.flatten(0, 1)
        return flat if self._counted is None else flat[self._counted]

    def unpack(self, packed: Tensor) -> Tensor:
        """The way back: (counted, ...) -> (n, tokens, ...), zeros for the others; holds until the next call."""
        if self._counted is None:
            return packed.view(*self.shape, *packed.shape[1:])
        if self._padded is None or self._padded.shape[2:] != packed.shape[1:]:
            self._padded = packed.new_zeros((*self.shape, *packed.shape[1:]))
        self._padded.flatten(0, 1).index_copy_(0, self._counted, packed)
        return self._padded


class CachePosition:
    """Which rows are read and written next, (n,), and at which positions, (n, tokens)."""

    def __init__(self, windows: dict[str, int | None]) -> None:
        self.windows = windows

    def move(
        self,
        rows: Tensor,
        positions: Tensor,
        every: bool = False,
        counts: Sequence[int] | None = None,
        last: int | None = None,
    ) -> None:
        """Go to these rows and positions; `every` says that they are all rows, in order (it saves a copy).

        counts: (n,) how many of a row's tokens count; None: all. last: the largest position, where it is known: to ask
        the device for it is to wait for it.
        """
        self.rows, self.positions, self.every = rows, positions, every
        self.span = round_up((int(positions.max()) if last is None else last) + 1, SPAN_MULTIPLE)
        self.packing = Packing(len(rows), positions.shape[1], counts)

    def masks(self) -> dict[str, Tensor]:
        """Boolean masks (n, 1, tokens, span), True where a token may look, by the kind of layer."""
        keys = torch.arange(self.span, device=self.positions.device)
        own = self.positions[:, None, :, None]
        return {
            kind: keys <= own if window is None else (keys <= own) & (keys > own - window)
            for kind, window in self.windows.items()
        }


class RowCache(Cache):
    """A buffer of `rows` rows and at least `length` positions for every layer of a network.

    groups: (rows,) which of the models that are asked together a row is of; one network alone has no more than 0.
    """

    def __init__(self, network: PreTrainedModel, rows: int, length: int) -> None:
        config = network.config.get_text_config()
        self.position = CachePosition(_attention_windows(config))
        self.device = network.device
        self.groups = [0] * rows
        super().__init__(
            layers=[
                _Layer(self.position, rows, round_up(length, SPAN_MULTIPLE)) for _ in range(config.num_hidden_layers)
            ]
        )

    @staticmethod
    def row_bytes(network: PreTrainedModel, length: int) -> int:
        """What one row of that length takes, bytes."""
        config = network.config.get_text_config()
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return int(
            2 * config.num_hidden_layers * heads * width * round_up(length, SPAN_MULTIPLE) * network.dtype.itemsize
        )

    def copy_positions(self, source: Tensor, start: int, end: int) -> None:
        """Every row takes the positions `start` to `end` from the row `source` (rows,) names for it."""
        for layer in self.layers:
            for states in (layer.keys, layer.values):
                states[:, :, start:end] = states[source, :, start:end]

    def keep_rows(self, rows: list[int]) -> None:
        """Only these rows stay, in this order."""
        self.groups = [self.groups[row] for row in rows]
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]


class _Layer(CacheLayerMixin):
    """One layer's keys and values, (rows, heads, length, width), made when the first ones come."""

    def __init__(self, position: CachePosition, rows: int, length: int) -> None:
        super().__init__()
        self.position, self.rows, self.length = position, rows, length

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Zeros, not garbage: a masked position has no weight, but no weight times NaN would be NaN."""
        self.keys, self.values = (
            states.new_zeros((self.rows, states.shape[1], self.length, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new tokens at the cache's position; all keys and values of the rows read, up to the span."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        position = self.position
        target = (position.rows[:, None], slice(None), position.positions)
        self.keys[target] = key_states.transpose(1, 2)
        self.values[target] = value_states.transpose(1, 2)
        rows = slice(None) if position.every else position.rows
        return self.keys[rows, :, : position.span], self.values[rows, :, : position.span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.position.span, 0

    def get_seq_length(self) -> int:
        return int(self.position.positions.min())

    def get_max_length(self) -> int:
        return self.length

    get_max_cache_shape = get_max_length  # its name in earlier versions of transformers 5


def _attention_windows(config: PreTrainedConfig) -> dict[str, int | None]:
    """The attention window of each kind of layer (None: all that came before)."""
    window = getattr(config, "sliding_window", None)
    listed = getattr(config, "layer_types", None)
    if not listed:
        return {"full_attention": window}
    unknown = set(listed) - {"full_attention", "sliding_attention"}
    if unknown:
        raise ValueError(f"layers of kind {', '.join(sorted(unknown))} cannot be sampled by spillover's own loop yet")
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(listed))}


def round_up(number: int, multiple: int) -> int:
    """`number` rounded up to a multiple."""
    return -(-number // multiple) * multiple


def even_batch_size(number: int, most: int, multiple: int) -> int:
    """How many to take at once, a multiple, so that batches of about `most` at most are of one size."""
    return round_up(-(-number // -(-number // most)), multiple)
