"""The slow and plain ways to the same numbers: every state kept by transformers itself, or by hooks on named parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from spillover.activations.capture import ActivationSelection, TokenizedText, capture
from spillover.activations.find_layers import find_layers
from spillover.activations.sites import ADDED, KINDS

EVERYTHING = ActivationSelection(sites=KINDS, poolings=("last", "mean"))


def captured(
    network: Any,
    texts: Sequence[TokenizedText] | Sequence[Sequence[int]],
    selection: ActivationSelection = EVERYTHING,
    batch_tokens: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, np.ndarray]:
    """What `capture` hands out, in memory: arrays by `SITE.POOLING`."""
    texts = [text if isinstance(text, TokenizedText) else TokenizedText.of_prompt(text) for text in texts]
    decoder = find_layers(network, added=bool({*selection.sites} & {*ADDED}))
    names = selection.array_names(decoder)
    arrays = np.full((len(names), len(texts), decoder.width), np.nan, dtype=np.float32)

    def put(rows: list[int], block: np.ndarray) -> None:
        assert np.isnan(arrays[:, rows]).all()
        arrays[:, rows] = block

    capture(decoder, texts, selection, put, progress, batch_tokens)
    return dict(zip(names, arrays, strict=True))


def one_by_one(network: Any, prompts: Sequence[Sequence[int]], ends: Sequence[int] | None = None) -> dict[str, Any]:
    """Arrays by `SITE.POOLING` for the sites that `output_hidden_states` shows: all but the last block's own output.

    `ends`: how many of the tokens are the prompt's, where a completion follows.
    """
    vectors: dict[str, list[torch.Tensor]] = {}
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            output = network(input_ids=torch.tensor([list(prompt)]), output_hidden_states=True, use_cache=False)
        *inner, final = output.hidden_states
        sites = {"embed": inner[0], **{f"resid_pre.{layer:02d}": hidden for layer, hidden in enumerate(inner)}}
        sites |= {f"resid_post.{layer:02d}": inner[layer + 1] for layer in range(len(inner) - 1)}
        for site, hidden in {**sites, "final_norm": final}.items():
            _pool(vectors, site, hidden[0], ends[index] if ends else len(prompt))
    return {name: torch.stack(rows).float().numpy() for name, rows in vectors.items()}


def by_hooks(network: Any, prompts: Sequence[Sequence[int]], ends: Sequence[int] | None = None) -> dict[str, Any]:
    """The same of a llama's `self_attn` and `mlp` and of its last block, prompts on the *right*, padded on the left.

    With attention mask and positions, as transformers' own `generate` pads.
    """
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    states: dict[str, torch.Tensor] = {}

    def keep(site: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            states[site] = output[0] if isinstance(output, tuple) else output

        return hook

    handles = []
    for number, layer in enumerate(network.model.layers):
        named = {"attn_out": layer.self_attn, "mlp_out": layer.mlp, "resid_post": layer}
        handles += [part.register_forward_hook(keep(f"{kind}.{number:02d}")) for kind, part in named.items()]
    with torch.no_grad():
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        network(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    for handle in handles:
        handle.remove()
    vectors: dict[str, list[torch.Tensor]] = {}
    for site, hidden in states.items():
        for index, prompt in enumerate(prompts):
            _pool(vectors, site, hidden[index, longest - len(prompt) :], ends[index] if ends else len(prompt))
    return {name: torch.stack(rows).float().numpy() for name, rows in vectors.items()}


def furthest(arrays: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """The largest distance between two captures of a prompt at any site, as a share of the vector's norm."""
    assert set(arrays) <= set(others) and arrays
    return max(
        float((np.linalg.norm(array - others[name], axis=1) / np.linalg.norm(array, axis=1)).max())
        for name, array in arrays.items()
    )


def _pool(vectors: dict[str, list[torch.Tensor]], site: str, hidden: torch.Tensor, end: int) -> None:
    vectors.setdefault(f"{site}.last", []).append(hidden[end - 1])
    vectors.setdefault(f"{site}.mean", []).append(hidden[:end].mean(dim=0))
    if end < len(hidden):
        vectors.setdefault(f"{site}.completion", []).append(hidden[end:].mean(dim=0))
