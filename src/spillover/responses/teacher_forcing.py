"""Log-probabilities of given tokens after given prompts, each prompt read once for all that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from spillover.models.forward.cached_network import BLOCK, CachedNetwork, TokenIds, read_prompts
from spillover.models.forward.generating_network import GeneratingNetwork
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable_at
from spillover.models.forward.row_cache import SPAN_MULTIPLE, RowCache, round_up
from spillover.models.loading import Loaded
from spillover.responses.samplers.decoding import ROW_MULTIPLE
from spillover.store import ProgressFn

if TYPE_CHECKING:
    from torch import Tensor

Text = tuple[TokenIds, TokenIds]  # a prompt, and a completion of it
ALONE = 16  # texts read at once where no two share a prompt: those of like length, and few tokens beyond their ends


def log_probabilities(opened: LoadedModels, texts: Sequence[Text], rows: int, progress: ProgressFn) -> list[np.ndarray]:
    """Of each text: log-probability of every token of its completion, nats, (tokens,) float32.

    `rows` texts are read at once. ValueError where a prompt has no tokens, a text is longer than the model takes, or a
    number is not finite.
    """
    limit = getattr(opened.loaded.network.config.get_text_config(), "max_position_embeddings", None)
    for prompt, completion in texts:
        if not prompt:
            raise ValueError("a prompt has no tokens: there is nothing for an answer to follow")
        if limit and len(prompt) + len(completion) > limit:
            size = len(prompt) + len(completion)
            raise ValueError(f"a prompt with its answer has {size} tokens; the model takes {limit}")
    longest = max((prompt + completion for prompt, completion in texts), key=len, default=())
    opened = LoadedModels(askable_at(opened.network, opened.loaded.network, longest), opened.loaded)
    results = [np.zeros(0, np.float32) for _ in texts]
    order = [index for index, (_, completion) in enumerate(texts) if completion]
    if len({prompt for prompt, _ in texts}) == len(texts):
        rows = min(rows, ALONE)
        order.sort(key=lambda index: len(texts[index][1]))
    else:
        order.sort(key=lambda index: _order(texts[index]))
    with torch.inference_mode():
        for start in range(0, len(order), rows):
            batch = order[start : start + rows]
            for index, numbers in zip(batch, _batch(opened, [texts[index] for index in batch]), strict=True):
                results[index] = numbers
            progress((start + len(batch)) / len(order))
    return results


def _order(text: Text) -> tuple[int, TokenIds, int]:
    """Alike prompts beside one another, so that each is read once, and completions of like length."""
    prompt, completion = text
    return len(prompt), prompt, len(completion)


def _batch(opened: LoadedModels, texts: Sequence[Text]) -> list[np.ndarray]:
    filled = [*texts, *[texts[-1]] * (-len(texts) % ROW_MULTIPLE)]
    network = opened.network
    if isinstance(network, GeneratingNetwork):
        rows = _whole_texts(network, filled, opened.loaded.device)
    else:
        rows = _after_prompts(network, opened.loaded, filled)
    numbers = rows.float().cpu().numpy()
    results = [numbers[row, : len(completion)] for row, (_, completion) in enumerate(texts)]
    if not all(np.isfinite(result).all() for result in results):
        raise ValueError("the model gives log-probabilities that are not finite numbers: its weights have diverged")
    return results


def _whole_texts(network: GeneratingNetwork, texts: Sequence[Text], device: torch.device) -> Tensor:
    """Log-probability of each completion's tokens, (texts, tokens), by one pass through prompts and completions."""
    longest = max(len(completion) for _, completion in texts)
    size = round_up(max(len(prompt) + len(completion) for prompt, completion in texts), SPAN_MULTIPLE)
    ids = [[*prompt, *completion] for prompt, completion in texts]
    tokens = torch.tensor([[*row, *[0] * (size - len(row))] for row in ids], device=device)
    logits = network.all_logits(tokens)[:, :-1]
    all_numbers = logits.gather(2, tokens[:, 1:, None]).squeeze(2) - logits.logsumexp(dim=2)
    first = torch.tensor([[len(prompt) - 1] for prompt, _ in texts], device=device)
    places = (first + torch.arange(longest, device=device)).clamp(max=size - 2)
    return all_numbers.gather(1, places)


def _after_prompts(network: CachedNetwork, loaded: Loaded, texts: Sequence[Text]) -> Tensor:
    """The same, each prompt read once for all that follow it."""
    device = loaded.device
    prompts, completions = [prompt for prompt, _ in texts], [completion for _, completion in texts]
    longest = round_up(max(map(len, completions)), BLOCK)
    cache = RowCache(loaded.network, len(texts), round_up(max(map(len, prompts)), BLOCK) + longest)
    read_prompts(network, cache, prompts)
    wanted = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions], device=device)
    last = torch.tensor([[prompt[-1]] for prompt in prompts], device=device)
    given = torch.cat((last, wanted[:, :-1]), dim=1)
    first = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=device)
    rows, parts = torch.arange(len(texts), device=device), []
    for start in range(0, longest, BLOCK):  # tokens beyond a row's end are read too; nobody looks at what they give
        block = slice(start, start + BLOCK)
        cache.position.move(rows, first + torch.arange(start, start + BLOCK, device=device), every=True)
        logits = network.all_logits(given[:, block], cache)
        parts.append(logits.gather(2, wanted[:, block, None]).squeeze(2) - logits.logsumexp(dim=2))
    return torch.cat(parts, dim=1)
