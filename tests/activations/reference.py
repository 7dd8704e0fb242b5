"""The slow and plain way to the same numbers: one prompt at a time, every hidden state kept by transformers itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def one_by_one(network: Any, prompts: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Arrays by `SITE.POOLING` for the sites that `output_hidden_states` shows: all but the last block's own output."""
    found: dict[str, list[torch.Tensor]] = {}
    for prompt in prompts:
        with torch.no_grad():
            output = network(input_ids=torch.tensor([list(prompt)]), output_hidden_states=True, use_cache=False)
        *inner, final = output.hidden_states
        sites = {"embed": inner[0], **{f"resid_post.{layer:02d}": inner[layer + 1] for layer in range(len(inner) - 1)}}
        for site, hidden in {**sites, "final_norm": final}.items():
            found.setdefault(f"{site}.last", []).append(hidden[0, -1])
            found.setdefault(f"{site}.mean", []).append(hidden[0].mean(dim=0))
    return {name: torch.stack(rows).float().numpy() for name, rows in found.items()}


def furthest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest distance between two captures of a prompt at any site, as a share of the vector's norm."""
    assert set(one) <= set(other)
    return max(
        float((np.linalg.norm(array - other[name], axis=1) / np.linalg.norm(array, axis=1)).max())
        for name, array in one.items()
    )
