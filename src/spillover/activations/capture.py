"""From token ids to pooled activations, many prompts at a time. Knows a network and numbers; knows no spec.

What is exact: the token that `last` names, the tokens that `mean` is over (all of the prompt's, the template's too),
and that padding and neighbours do not enter. What is not: float32 products round differently in batches of other
shapes, so that a prompt captured alone and in a batch agrees to about 1e-6 of its vector's norm (tests hold 1e-5).
The batches follow from the prompts alone, so the same capture on the same machine gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Literal, get_args

import numpy as np

from spillover.activations.sites import Trunk, open_trunk

Pooling = Literal["last", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}  # padded tokens in a batch
SHARED_TOKENS = 16  # prompts that begin with the same so many tokens have their common head run once


def capture(
    network: Any, prompts: Sequence[Sequence[int]], tick: Callable[[float], None], batch_tokens: int | None = None
) -> dict[str, np.ndarray]:
    """Arrays (prompts, d_model) float32 by `SITE.POOLING`, rows in the order given; `tick` hears the share done.

    Only the trunk runs, no logits are computed, and no more than a batch's activations at one site are ever kept.
    """
    import torch

    trunk = open_trunk(network)
    device = next(network.parameters()).device
    limit = batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"])
    width = network.get_input_embeddings().embedding_dim
    pooled = torch.empty(len(trunk.sites), len(POOLINGS), len(prompts), width)
    done, total = 0, sum(map(len, prompts))
    with torch.inference_mode():
        for shared, members in groups(prompts):
            cache, before = _head(trunk, prompts[members[0]][:shared], width, device)
            for rows in batches({index: len(prompts[index]) - shared for index in members}, limit):
                tails = [prompts[index][shared:] for index in rows]
                pooled[:, :, rows] = _tails(trunk, tails, cache, before, shared).cpu()
                done += sum(len(prompts[index]) for index in rows)
                tick(done / total)
    return {
        f"{site}.{pooling}": _finite(pooled[at, pool].numpy(), site)
        for at, site in enumerate(trunk.sites)
        for pool, pooling in enumerate(POOLINGS)
    }


def groups(prompts: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """How many first tokens a group of prompts has in common, and the prompts' indices; every prompt keeps a tail."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        alike.setdefault(tuple(prompt[:SHARED_TOKENS]), []).append(index)
    alone = [members[0] for members in alike.values() if len(members) == 1]
    found = [(0, alone)] if alone else []
    for members in alike.values():
        if len(members) > 1:
            texts = [tuple(prompts[index]) for index in members]
            pairs = zip(min(texts), max(texts), strict=False)  # what these two share, all share
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            found.append((min(common, min(map(len, texts)) - 1), members))
    return found


def batches(lengths: dict[int, int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices to run together: similar lengths, the longest first, at most `batch_tokens` with padding (or one)."""
    order = sorted(lengths, key=lambda index: (-lengths[index], index))
    while order:
        rows = max(1, batch_tokens // lengths[order[0]])
        yield order[:rows]
        order = order[rows:]


def _head(trunk: Trunk, ids: Sequence[int], width: int, device: Any) -> tuple[Any, Any]:
    """The cache after the common tokens (None if there are none), and their activations' sum (sites, d_model)."""
    import torch

    total = torch.zeros(len(trunk.sites), width, device=device)
    if not ids:
        return None, total

    def read(site: int, hidden: Any) -> None:
        total[site] = hidden[0].float().sum(dim=0)

    return trunk.run(torch.tensor([list(ids)], device=device), read, keep=True), total


def _tails(trunk: Trunk, tails: Sequence[Sequence[int]], cache: Any, before: Any, shared: int) -> Any:
    """Pooled activations (sites, poolings, rows, d_model) of prompts that go on from a common head."""
    import torch

    device = before.device
    ids = torch.zeros(len(tails), max(map(len, tails)), dtype=torch.long)
    inside = torch.zeros(ids.shape)
    for row, tail in enumerate(tails):
        ids[row, : len(tail)] = torch.tensor(list(tail))
        inside[row, : len(tail)] = 1
    row, inside = torch.arange(len(tails), device=device), inside.to(device)
    counts = inside.sum(dim=1)
    last = counts.long() - 1
    pooled = torch.empty(len(trunk.sites), len(POOLINGS), len(tails), before.shape[1], device=device)

    def read(site: int, hidden: Any) -> None:
        pooled[site, 0] = hidden[row, last]
        total = torch.bmm(inside[:, None], hidden.float())[:, 0] + before[site]
        pooled[site, 1] = total / (counts + shared)[:, None]

    trunk.run(ids.to(device), read, after=cache)
    return pooled


def _finite(array: np.ndarray, site: str) -> np.ndarray:
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).any(axis=1).sum())
        raise ValueError(f"{count} of {len(array)} prompts have activations at {site} that are not finite numbers")
    return array
