"""From token ids to pooled activations, many prompts at a time.

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
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from spillover.activations.sites import Decoder, SiteKind, site_names

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.cache_utils import Cache

Pooling = Literal["last", "mean", "completion"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}  # padded tokens in a batch
SHARED_TOKENS = 16  # prompts that begin with the same so many tokens have their common head run once
SITES: tuple[SiteKind, ...] = ("embed", "resid_post", "final_norm")


@dataclass(frozen=True)
class TokenizedText:
    """Tokens of a prompt, and of the completion that follows it, if one does."""

    ids: tuple[int, ...]
    prompt_length: int

    @classmethod
    def of_prompt(cls, ids: Sequence[int]) -> TokenizedText:
        """A prompt with nothing after it."""
        return cls(tuple(ids), len(ids))


@dataclass(frozen=True)
class ActivationSelection:
    """Which activations are kept: kinds of sites, the layers (none: all), and how tokens are pooled."""

    sites: tuple[SiteKind, ...] = SITES
    layers: tuple[int, ...] = ()
    poolings: tuple[Pooling, ...] = ("last", "mean")

    def site_names(self, decoder: Decoder) -> tuple[str, ...]:
        """Names of the sites in this network, in the order in which they are computed.

        ValueError for a layer that it has not.
        """
        every = range(len(decoder.layers))
        outside = [layer for layer in self.layers if layer not in every]
        if outside:
            raise ValueError(f"layer {outside[0]} is asked for; the model has layers 0 to {len(every) - 1}")
        return site_names(self.sites, sorted(set(self.layers)) or every)

    def array_names(self, decoder: Decoder) -> tuple[str, ...]:
        """`SITE.POOLING` of every array, in the order in which `capture` hands them out."""
        return tuple(f"{site}.{pooling}" for site in self.site_names(decoder) for pooling in self.poolings)


def capture(
    decoder: Decoder,
    texts: Sequence[TokenizedText],
    selection: ActivationSelection,
    write_rows: Callable[[list[int], np.ndarray], None],
    progress: Callable[[float], None] = lambda share: None,
    batch_tokens: int | None = None,
) -> None:
    """Give `write_rows` row numbers and their block (arrays, rows, d_model) float32, batch by batch.

    `progress` hears the share done. No logits are computed, and no more than a batch's activations at one site are
    ever in memory. ValueError where a completion is asked for and none follows, and for numbers that are not finite.
    """
    import torch

    if "completion" in selection.poolings and any(len(text.ids) <= text.prompt_length for text in texts):
        raise ValueError("a text ends where its prompt does: there is no completion to take the mean of")
    sites = selection.site_names(decoder)
    limit = batch_tokens or BATCH_TOKENS.get(decoder.device.type, BATCH_TOKENS["cpu"])
    not_finite = np.zeros((len(sites), len(texts)), dtype=bool)
    done, total = 0, sum(len(text.ids) for text in texts)
    prompts = [text.ids[: text.prompt_length] for text in texts]
    completed = any(text.prompt_length < len(text.ids) for text in texts)
    with torch.inference_mode():
        together = groups(prompts, completed) if decoder.keeps_keys else [(0, [*range(len(prompts))])]
        for shared, members in together:
            head = _run_head(decoder, prompts[members[0]][:shared], selection)
            for rows in batches({index: len(texts[index].ids) - shared for index in members}, limit):
                tails = [TokenizedText(texts[row].ids[shared:], texts[row].prompt_length - shared) for row in rows]
                block = _run_tails(decoder, head, tails, selection).cpu().numpy()
                not_finite[:, rows] = ~np.isfinite(block).all(axis=(1, 3))
                write_rows(rows, block.reshape(-1, *block.shape[2:]))
                done += sum(len(texts[row].ids) for row in rows)
                progress(done / total)
    for site, lost in zip(sites, not_finite, strict=True):
        if lost.any():
            raise ValueError(
                f"{int(lost.sum())} of {len(lost)} prompts have activations at {site} that are not finite numbers"
            )


def groups(prompts: Sequence[Sequence[int]], completed: bool = False) -> list[tuple[int, list[int]]]:
    """How many first tokens a group of prompts has in common, and the prompts' indices; every prompt keeps a tail.

    With `completed`, prompts that are there several times (with several completions) are groups of their own.
    """
    repeats = Counter(tuple(prompt) for prompt in prompts) if completed else Counter()
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(map(tuple, prompts)):
        alike.setdefault(prompt if repeats[prompt] > 1 else prompt[:SHARED_TOKENS], []).append(index)
    alone = [members[0] for members in alike.values() if len(members) == 1]
    together = [(0, alone)] if alone else []
    for members in alike.values():
        if len(members) > 1:
            texts = [tuple(prompts[index]) for index in members]
            pairs = zip(min(texts), max(texts), strict=False)  # what these two share, all share
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            together.append((min(common, min(map(len, texts)) - 1), members))
    return together


def batches(lengths: dict[int, int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices to run together: similar lengths, the longest first, at most `batch_tokens` with padding (or one)."""
    order = sorted(lengths, key=lambda index: (-lengths[index], index))
    while order:
        rows = max(1, batch_tokens // lengths[order[0]])
        yield order[:rows]
        order = order[rows:]


@dataclass(frozen=True)
class _Head:
    """The tokens that a group's prompts begin with: how many, their keys and values, their sum (d_model,) by site."""

    length: int
    cache: Cache | None
    sums: dict[str, Tensor]


def _run_head(decoder: Decoder, ids: Sequence[int], selection: ActivationSelection) -> _Head:
    import torch

    sums: dict[str, Tensor] = {}
    if not ids:
        return _Head(0, None, sums)

    def hook(site: str, hidden: Tensor) -> None:
        sums[site] = hidden[0].float().sum(dim=0)

    sites = selection.site_names(decoder) if "mean" in selection.poolings else ()
    cache = decoder.run(torch.tensor([list(ids)], device=decoder.device), hook, sites, keep_cache=True)
    return _Head(len(ids), cache, sums)


def _run_tails(decoder: Decoder, head: _Head, tails: Sequence[TokenizedText], selection: ActivationSelection) -> Tensor:
    """Pooled activations (sites, poolings, rows, d_model) of texts that go on from a common head."""
    import torch

    device = decoder.device
    longest = max(len(tail.ids) for tail in tails)
    ids = torch.tensor([[*tail.ids, *(0,) * (longest - len(tail.ids))] for tail in tails], device=device)
    ends = torch.tensor([tail.prompt_length for tail in tails], device=device)
    sizes = torch.tensor([len(tail.ids) for tail in tails], device=device)
    position = torch.arange(longest, device=device)
    masks = {"mean": position < ends[:, None], "completion": (position >= ends[:, None]) & (position < sizes[:, None])}
    counts = {"mean": (ends + head.length)[:, None], "completion": (sizes - ends)[:, None]}
    means = [pooling for pooling in selection.poolings if pooling != "last"]
    mean_masks = torch.stack([masks[pooling] for pooling in means], dim=1).float() if means else None
    row = torch.arange(len(tails), device=device)
    site_index = {site: index for index, site in enumerate(selection.site_names(decoder))}
    pooled = torch.empty(len(site_index), len(selection.poolings), len(tails), decoder.width, device=device)

    def hook(site: str, hidden: Tensor) -> None:
        totals = () if mean_masks is None else torch.bmm(mean_masks, hidden.float()).unbind(1)
        sums = dict(zip(means, totals, strict=True))
        for index, pooling in enumerate(selection.poolings):
            if pooling == "last":
                vectors = hidden[row, ends - 1]
            elif pooling == "mean" and head.sums:
                vectors = (sums[pooling] + head.sums[site]) / counts[pooling]
            else:
                vectors = sums[pooling] / counts[pooling]
            pooled[site_index[site], index] = vectors

    decoder.run(ids, hook, site_index, after=head.cache)
    return pooled
