"""From token ids to pooled activations, many prompts at a time. Knows a network and numbers; knows no spec and no file.

What is exact: the token that `last` names (the prompt's last), the tokens that `mean` (all of the prompt's, the
template's too) and `completion` (those after the prompt) are over, and that padding and neighbours do not enter. What
is not: float32 products round differently in batches of other shapes, so that a prompt captured alone and in a batch
agrees to about 1e-6 of its vector's norm (tests hold 1e-5). The batches follow from the tokens alone, so the same
capture on the same machine gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, get_args

import numpy as np

from spillover.activations.sites import SiteKind, Trunk, site_names

Pooling = Literal["last", "mean", "completion"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}  # padded tokens in a batch
SHARED_TOKENS = 16  # prompts that begin with the same so many tokens have their common head run once
SITES: tuple[SiteKind, ...] = ("embed", "resid_post", "final_norm")


@dataclass(frozen=True)
class Text:
    """Tokens of a prompt, and of the completion that follows it, if one does."""

    ids: tuple[int, ...]
    prompt_length: int

    @classmethod
    def of_prompt(cls, ids: Sequence[int]) -> Text:
        """A prompt with nothing after it."""
        return cls(tuple(ids), len(ids))


@dataclass(frozen=True)
class Wanted:
    """Which activations are kept: kinds of sites, the layers (none: all), and how tokens are pooled."""

    sites: tuple[SiteKind, ...] = SITES
    layers: tuple[int, ...] = ()
    poolings: tuple[Pooling, ...] = ("last", "mean")

    def names(self, trunk: Trunk) -> tuple[str, ...]:
        """Names of the sites in this trunk, in the order in which they are computed."""
        there = range(len(trunk.layers))
        outside = [layer for layer in self.layers if layer not in there]
        if outside:
            raise ValueError(f"layer {outside[0]} is asked for; the model has layers 0 to {len(there) - 1}")
        return site_names(self.sites, sorted(set(self.layers)) or there)

    def arrays(self, trunk: Trunk) -> tuple[str, ...]:
        """`SITE.POOLING` of every array, in the order in which `capture` hands them out."""
        return tuple(f"{site}.{pooling}" for site in self.names(trunk) for pooling in self.poolings)


def capture(
    trunk: Trunk,
    texts: Sequence[Text],
    wanted: Wanted,
    put: Callable[[list[int], np.ndarray], None],
    progress: Callable[[float], None] = lambda share: None,
    batch_tokens: int | None = None,
) -> None:
    """Give `put` row numbers and their block (arrays, rows, d_model) float32, batch by batch; `progress`: share done.

    Only the trunk runs, no logits are computed, and no more than a batch's activations at one site are ever kept.
    """
    import torch

    if "completion" in wanted.poolings and any(len(text.ids) <= text.prompt_length for text in texts):
        raise ValueError("a text ends where its prompt does: there is no completion to take the mean of")
    sites = wanted.names(trunk)
    limit = batch_tokens or BATCH_TOKENS.get(trunk.device.type, BATCH_TOKENS["cpu"])
    lost = np.zeros((len(sites), len(texts)), dtype=bool)
    done, total = 0, sum(len(text.ids) for text in texts)
    prompts = [text.ids[: text.prompt_length] for text in texts]
    whole = any(text.prompt_length < len(text.ids) for text in texts)
    with torch.inference_mode():
        for shared, members in groups(prompts, whole):
            cache, before = _head(trunk, prompts[members[0]][:shared], wanted, sites)
            for rows in batches({index: len(texts[index].ids) - shared for index in members}, limit):
                tails = [Text(texts[index].ids[shared:], texts[index].prompt_length - shared) for index in rows]
                block = _tails(trunk, tails, wanted, cache, before, shared).cpu().numpy()
                lost[:, rows] = ~np.isfinite(block).all(axis=(1, 3))
                put(rows, block.reshape(-1, *block.shape[2:]))
                done += sum(len(texts[index].ids) for index in rows)
                progress(done / total)
    _refuse_lost(lost, sites)


def groups(prompts: Sequence[Sequence[int]], whole: bool = False) -> list[tuple[int, list[int]]]:
    """How many first tokens a group of prompts has in common, and the prompts' indices; every prompt keeps a tail.

    With `whole`, prompts that are there several times (with several completions) are groups of their own.
    """
    again = Counter(tuple(prompt) for prompt in prompts) if whole else Counter()
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(map(tuple, prompts)):
        alike.setdefault(prompt if again[prompt] > 1 else prompt[:SHARED_TOKENS], []).append(index)
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


def _head(trunk: Trunk, ids: Sequence[int], wanted: Wanted, sites: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The cache after the common tokens (None if there are none), and their activations' sum (d_model,) by site."""
    import torch

    total: dict[str, Any] = {}
    if not ids:
        return None, total

    def read(site: str, hidden: Any) -> None:
        total[site] = hidden[0].float().sum(dim=0)

    read_at = sites if "mean" in wanted.poolings else ()
    return trunk.run(torch.tensor([list(ids)], device=trunk.device), read, read_at, keep=True), total


def _tails(trunk: Trunk, tails: Sequence[Text], wanted: Wanted, cache: Any, before: dict[str, Any], shared: int) -> Any:
    """Pooled activations (sites, poolings, rows, d_model) of texts that go on from a common head."""
    import torch

    device, sites = trunk.device, wanted.names(trunk)
    longest = max(len(tail.ids) for tail in tails)
    ids = torch.tensor([[*tail.ids, *(0,) * (longest - len(tail.ids))] for tail in tails], device=device)
    ends = torch.tensor([tail.prompt_length for tail in tails], device=device)
    sizes = torch.tensor([len(tail.ids) for tail in tails], device=device)
    place = torch.arange(longest, device=device)
    spans = {"mean": place < ends[:, None], "completion": (place >= ends[:, None]) & (place < sizes[:, None])}
    counts = {"mean": (ends + shared)[:, None], "completion": (sizes - ends)[:, None]}
    means = [pooling for pooling in wanted.poolings if pooling != "last"]
    inside: Any = torch.stack([spans[pooling] for pooling in means], dim=1).float() if means else None
    row = torch.arange(len(tails), device=device)
    pooled = torch.empty(len(sites), len(wanted.poolings), len(tails), trunk.width, device=device)
    number = {site: index for index, site in enumerate(sites)}

    def read(site: str, hidden: Any) -> None:
        into = pooled[number[site]]
        totals: Any = None if inside is None else torch.bmm(inside, hidden.float())
        for index, pooling in enumerate(wanted.poolings):
            if pooling == "last":
                into[index] = hidden[row, ends - 1]
                continue
            total = totals[:, means.index(pooling)]
            into[index] = (total + before[site] if pooling == "mean" and before else total) / counts[pooling]

    trunk.run(ids, read, sites, after=cache)
    return pooled


def _refuse_lost(lost: np.ndarray, sites: Sequence[str]) -> None:
    """ValueError where activations are not finite numbers; `lost` (sites, prompts)."""
    for site, rows in zip(sites, lost, strict=True):
        if rows.any():
            raise ValueError(
                f"{int(rows.sum())} of {len(rows)} prompts have activations at {site} that are not finite numbers"
            )
