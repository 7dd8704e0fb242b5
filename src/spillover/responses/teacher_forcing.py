"""Log-probabilities of given tokens after given prompts, each prompt read once for all that follow it. Knows tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.prompt_reading import BLOCK, TokenIds, read_prompts
from spillover.models.forward.row_cache import RowCache, up
from spillover.responses.samplers.decoding import ROW_MULTIPLE


def log_probabilities(
    opened: LoadedModels, texts: Sequence[tuple[TokenIds, TokenIds]], rows: int, progress: Callable[[float], None]
) -> list[np.ndarray]:
    """Of each (prompt, completion): log-probability of every token of the completion, nats, (tokens,) float32.

    ValueError where a prompt has no tokens, a text is longer than the model takes, or a number is not finite.
    """
    _check(texts, getattr(opened.loaded.network.config, "max_position_embeddings", None))
    found = [np.zeros(0, np.float32) for _ in texts]
    order = sorted((index for index, (_, rest) in enumerate(texts) if rest), key=lambda index: _order(texts[index]))
    with torch.inference_mode():
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            for index, numbers in zip(batch, _batch(opened, [texts[index] for index in batch]), strict=True):
                found[index] = numbers
            progress((start + len(batch)) / len(order))
    return found


def _order(text: tuple[TokenIds, TokenIds]) -> tuple[int, TokenIds, int]:
    """Alike prompts beside one another, so that each is read once, and completions of like length."""
    prompt, completion = text
    return len(prompt), prompt, len(completion)


def _batch(opened: LoadedModels, texts: Sequence[tuple[TokenIds, TokenIds]]) -> list[np.ndarray]:
    device = opened.loaded.device
    filled = [*texts, *[texts[-1]] * (up(len(texts), ROW_MULTIPLE) - len(texts))]
    prompts, rests = [prompt for prompt, _ in filled], [rest for _, rest in filled]
    longest = up(max(map(len, rests)), BLOCK)
    cache = RowCache(opened.loaded.network, len(filled), up(max(map(len, prompts)), BLOCK) + longest)
    read_prompts(opened.reader, cache, prompts)
    given = torch.tensor(
        [[prompt[-1], *rest[:-1], *[0] * (longest - len(rest))] for prompt, rest in filled], device=device
    )
    wanted = torch.tensor([[*rest, *[0] * (longest - len(rest))] for rest in rests], device=device)
    first = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=device)
    rows, parts = torch.arange(len(filled), device=device), []
    for start in range(0, longest, BLOCK):  # tokens beyond a row's end are read too; nobody looks at what they give
        positions = first + torch.arange(start, start + BLOCK, device=device)
        cache.position.move(rows, positions, every=True)
        logits = opened.reader.score(given[:, start : start + BLOCK], cache)
        chosen = logits.gather(2, wanted[:, start : start + BLOCK, None]).squeeze(2)
        parts.append(chosen - logits.logsumexp(dim=2))
    numbers = torch.cat(parts, dim=1).float().cpu().numpy()
    found = [numbers[row, : len(rest)] for row, (_, rest) in enumerate(texts)]
    if not all(np.isfinite(one).all() for one in found):
        raise ValueError("the model gives log-probabilities that are not finite numbers: its weights have diverged")
    return found


def _check(texts: Sequence[tuple[TokenIds, TokenIds]], limit: int | None) -> None:
    for prompt, completion in texts:
        if not prompt:
            raise ValueError("a prompt has no tokens: there is nothing for an answer to follow")
        size = len(prompt) + len(completion)
        if limit and size > limit:
            raise ValueError(f"a prompt with its answer has {size} tokens; the model takes {limit}")
