"""The decoding loop: many answers at once, each the same whatever shares its batch. Knows prompts and numbers only.

Each prompt is prefilled once, alone, and its keys and values are copied to every answer that starts from it. Keys lie
left-aligned in a cache whose length is a multiple of 16, and a batch is filled up to a multiple of 8 rows: with these
two, matrix products and attention here give the same bits for a row whatever stands beside it (tests hold it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin

from spillover.models.loading import Loaded
from spillover.responses.sampling import pick

ROW_MULTIPLE = 8
CACHE_MULTIPLE = 16
SHRINK_AT = 0.75  # rows still running, as a share of the batch, below which finished rows leave it


@dataclass
class Draft:
    """One answer being written: which prompt it starts from, its random numbers, its tokens so far."""

    prompt: tuple[int, ...]
    uniforms: np.ndarray  # (max_tokens,) float64
    tokens: list[int] = field(default_factory=list)
    finish: str | None = None


@dataclass(frozen=True)
class Rules:
    """When an answer ends and how its tokens are drawn."""

    max_tokens: int
    temperature: float
    top_p: float
    ends: frozenset[int]
    stops: tuple[str, ...]  # texts that end an answer
    decode: Callable[[list[int]], str]


def write_answers(
    loaded: Loaded, drafts: Sequence[Draft], rules: Rules, rows: int, tick: Callable[[int], None]
) -> None:
    """Finish every draft, `rows` at a time; `tick` hears how many are finished."""
    done = 0
    with torch.inference_mode():
        for part in _batches(drafts, rows):
            _decode(loaded, part, rules)
            done += len(part)
            tick(done)


class _Rows(CacheLayerMixin):
    """One layer's keys and values, (rows, heads, length, width), each row written at its own position."""

    def __init__(self, keys: Any, values: Any, state: _State) -> None:
        super().__init__()
        self.keys, self.values, self.state, self.is_initialized = keys, values, state, True

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        """Nothing is left to do: the buffers are there from the start."""

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        state = self.state
        self.keys[state.index, :, state.positions] = key_states[:, :, 0]
        self.values[state.index, :, state.positions] = value_states[:, :, 0]
        return self.keys[:, :, : state.span], self.values[:, :, : state.span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.state.span, 0

    def get_seq_length(self) -> int:
        return int(self.state.positions.max())

    def get_max_length(self) -> int:
        return int(self.keys.shape[2])


class _State:
    """Where each row stands: `positions` (rows,) of the token to write next, `span` of the cache in use."""

    def __init__(self, positions: Any) -> None:
        self.move(positions)

    def move(self, positions: Any) -> None:
        self.positions = positions
        self.index = torch.arange(len(positions), device=positions.device)
        self.span = _up(int(positions.max()) + 1, CACHE_MULTIPLE)

    def masks(self, windows: dict[str, int | None]) -> Any:
        """Boolean attention masks (rows, 1, 1, span): True where a row may look; one for each kind of layer."""
        place = torch.arange(self.span, device=self.positions.device)
        seen = place <= self.positions[:, None]
        masks = {}
        for kind, window in windows.items():
            near = seen if window is None else seen & (place > self.positions[:, None] - window)
            masks[kind] = near[:, None, None, :]
        return masks if len(masks) > 1 else next(iter(masks.values()))


def _decode(loaded: Loaded, drafts: Sequence[Draft], rules: Rules) -> None:
    cache, state, logits = _prefill(loaded, drafts, rules.max_tokens)
    running: list[Draft | None] = [*drafts, *[None] * (len(logits) - len(drafts))]
    windows = _windows(loaded.network.config)
    step = 0
    while True:
        uniform = [draft.uniforms[step] if draft else 0.0 for draft in running]
        tokens = pick(logits.float(), torch.tensor(uniform, device=logits.device), rules.temperature, rules.top_p)
        for row, token in enumerate(tokens.tolist()):
            _append(running, row, token, rules)
        step += 1
        alive = [row for row, draft in enumerate(running) if draft]
        if not alive:
            return
        if len(alive) <= SHRINK_AT * len(running) and _up(len(alive), ROW_MULTIPLE) < len(running):
            keep = _padded(alive)
            running = [running[row] if place < len(alive) else None for place, row in enumerate(keep)]
            tokens = tokens[keep]
            _shrink(cache, state, keep)
        output = loaded.network(
            input_ids=tokens[:, None],
            position_ids=state.positions[:, None],
            attention_mask=state.masks(windows),
            cache=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1]
        state.move(state.positions + 1)


def _append(running: list[Draft | None], row: int, token: int, rules: Rules) -> None:
    draft = running[row]
    if draft is None:
        return
    if token in rules.ends:
        draft.finish = "stop"
    else:
        draft.tokens.append(token)
        if rules.stops and any(stop in rules.decode(draft.tokens[-16:]) for stop in rules.stops):
            draft.finish = "stop_text"
        elif len(draft.tokens) == rules.max_tokens:
            draft.finish = "length"
    if draft.finish:
        running[row] = None


def _prefill(loaded: Loaded, drafts: Sequence[Draft], max_tokens: int) -> tuple[Cache, _State, Any]:
    """Keys and values of every draft's prompt in one buffer a layer, and the logits after each prompt."""
    network, device = loaded.network, loaded.device
    longest = _up(max(len(draft.prompt) for draft in drafts) + max_tokens, CACHE_MULTIPLE)
    rows = _up(len(drafts), ROW_MULTIPLE)
    heads: list[Any] = [None] * rows
    buffers: list[tuple[Any, Any]] = []
    state = _State(torch.zeros(rows, dtype=torch.long, device=device))
    for prompt in dict.fromkeys(draft.prompt for draft in drafts):
        owners = [row for row, draft in enumerate(drafts) if draft.prompt == prompt]
        if drafts[-1].prompt == prompt:
            owners += range(len(drafts), rows)  # the rows that fill the batch up repeat the last prompt
        seen = DynamicCache()  # without the config: sliding layers keep every key, the masks do the sliding
        ids = torch.tensor([prompt], device=device)
        output = network(input_ids=ids, cache=seen, use_cache=True, logits_to_keep=1)
        for layer, source in enumerate(seen.layers):
            if layer == len(buffers):
                shape = (rows, source.keys.shape[1], longest, source.keys.shape[3])
                buffers.append((source.keys.new_zeros(shape), source.values.new_zeros(shape)))
            for target, part in zip(buffers[layer], (source.keys, source.values), strict=True):
                target[owners, :, : len(prompt)] = part
        state.positions[owners] = len(prompt)
        for row in owners:
            heads[row] = output.logits[0, -1]
    state.move(state.positions)
    cache = Cache(layers=[_Rows(keys, values, state) for keys, values in buffers])
    return cache, state, torch.stack(heads)


def _shrink(cache: Cache, state: _State, keep: list[int]) -> None:
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[keep], layer.values[keep]
    state.move(state.positions[keep])


def _batches(drafts: Sequence[Draft], rows: int) -> Iterator[Sequence[Draft]]:
    """Drafts with prompts of similar length together, so that little of the cache is empty."""
    order = sorted(drafts, key=lambda draft: (len(draft.prompt), draft.prompt))
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def _padded(alive: list[int]) -> list[int]:
    return alive + [alive[-1]] * (_up(len(alive), ROW_MULTIPLE) - len(alive))


def _windows(config: Any) -> dict[str, int | None]:
    """The attention window of each kind of layer (None: all that came before)."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ValueError(f"layers of kind {', '.join(sorted(unknown))} cannot be sampled by spillover's own loop yet")
    window = getattr(config, "sliding_window", None)
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
