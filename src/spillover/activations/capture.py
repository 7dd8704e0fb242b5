"""From token ids to pooled activations, many prompts at a time. Knows a network and numbers; knows no spec.

What is exact: the token that `last` names, the tokens that `mean` is over (all of the prompt's, the template's too),
and that padding and neighbours do not enter. What is not: float32 products round differently in batches of other
shapes, so that a prompt captured alone and in a batch agrees to about 1e-5 of its vector's norm (tests hold 1e-4).
The batches follow from the prompts alone, so the same capture on the same machine gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np

from spillover.activations.sites import open_trunk

Pooling = Literal["last", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BATCH_TOKENS = 1024  # padded tokens in a batch


def capture(
    network: Any, prompts: Sequence[Sequence[int]], tick: Callable[[float], None], batch_tokens: int = BATCH_TOKENS
) -> dict[str, np.ndarray]:
    """Arrays (prompts, d_model) float32 by `SITE.POOLING`, rows in the order given; `tick` hears the share done.

    Only the trunk runs, no logits are computed, and no more than a batch's activations at one site are ever kept.
    """
    import torch

    trunk = open_trunk(network)
    device = next(network.parameters()).device
    width = network.get_input_embeddings().embedding_dim
    pooled = torch.empty(len(trunk.sites), len(POOLINGS), len(prompts), width)
    lengths = [len(prompt) for prompt in prompts]
    done, total = 0, sum(lengths)
    with torch.inference_mode():
        for rows in batches(lengths, batch_tokens):
            ids = torch.zeros(len(rows), lengths[rows[0]], dtype=torch.long)
            share = torch.zeros(ids.shape)
            for row, index in enumerate(rows):
                ids[row, : lengths[index]] = torch.tensor(prompts[index])
                share[row, : lengths[index]] = 1 / lengths[index]
            last = torch.tensor([lengths[index] - 1 for index in rows], device=device)
            batch = torch.empty(len(trunk.sites), len(POOLINGS), len(rows), width, device=device)
            trunk.run(ids.to(device), _pool(batch, last, share.to(device)))
            pooled[:, :, rows] = batch.cpu()
            done += sum(lengths[index] for index in rows)
            tick(done / total)
    return {
        f"{site}.{pooling}": _finite(pooled[at, pool].numpy(), site)
        for at, site in enumerate(trunk.sites)
        for pool, pooling in enumerate(POOLINGS)
    }


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of prompts to run together: similar lengths, the longest first, at most `batch_tokens` with padding."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        rows = max(1, batch_tokens // lengths[order[0]])
        yield order[:rows]
        order = order[rows:]


def _pool(batch: Any, last: Any, share: Any) -> Callable[[int, Any], None]:
    """A reader that pools each site's (rows, tokens, d_model) into `batch` (sites, poolings, rows, d_model)."""
    import torch

    row = torch.arange(len(last), device=last.device)

    def read(site: int, hidden: Any) -> None:
        batch[site, 0] = hidden[row, last]
        batch[site, 1] = torch.bmm(share[:, None], hidden.float())[:, 0]

    return read


def _finite(array: np.ndarray, site: str) -> np.ndarray:
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).any(axis=1).sum())
        raise ValueError(f"{count} of {len(array)} prompts have activations at {site} that are not finite numbers")
    return array
