"""Networks that are asked through their own forward and cache: by transformers' `generate`, one token after another.

For layers and caches that spillover's own loop does not know (state space, convolution, positions that come from a
mask): whatever `generate` can do can be asked. Rows of a batch have prompts of one length, so that nothing is padded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria
from transformers.cache_utils import Cache

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# What running a network raises where it is of a kind that a way of asking is not made for.
UNKNOWN_KIND = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # by `relative_error`
Choose = Callable[["Tensor"], "Tensor | None"]


def logits_tolerance(dtype: torch.dtype) -> float:
    """How far logits may be from those of another way, by `relative_error`."""
    return TOLERANCE.get(dtype, max(TOLERANCE.values()))


def relative_error(logits: Tensor, expected: Tensor) -> float:
    """How far logits are from what is expected: root mean square, as a share of the latter's standard deviation."""
    return float((logits - expected).square().mean().sqrt() / expected.std())


class GeneratingNetwork:
    """Any network that `generate` takes; `cached`: with the network's own cache, else all is read again each step."""

    def __init__(self, network: PreTrainedModel, cached: bool = True) -> None:
        self.network, self.cached = network, cached

    def write(self, prompts: Tensor, choose: Choose, most: int) -> None:
        """Go on from `prompts` (rows, tokens) by at most `most` tokens a row.

        choose: gets logits (rows, vocabulary), float, and gives the tokens (rows,) that come next; None: enough.
        """
        chosen = _Chosen(choose)
        with _without_own_settings(self.network):
            self.network.generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                generation_config=GenerationConfig(**self._settings(most)),
                logits_processor=[chosen],
                stopping_criteria=[_WhenChosen(chosen)],
            )

    def follow(self, prompt: Tensor, paths: Tensor, look: Callable[[int, Tensor], None]) -> None:
        """Read a prompt (tokens,) once and each of `paths` (rows, depth) after it, token by token.

        look: gets how many tokens of the paths were read, and the logits after them, (rows, vocabulary), float.
        """
        first, cache = self._read(prompt)
        tokens = torch.cat([prompt.expand(len(paths), -1), paths], dim=1)
        steps = None if cache is None else self._cached_steps(cache, tokens, len(prompt))
        if steps is None:  # a state that is not handed out, or that other rows cannot go on from: all is read again
            sizes = range(len(prompt) + 1, tokens.shape[1] + 1)
            steps = [self.network(input_ids=tokens[:, :size], use_cache=False).logits[:, -1].float() for size in sizes]
        look(0, first.expand(len(paths), -1))
        for step, logits in enumerate(steps, start=1):
            look(step, logits)

    def _cached_steps(self, cache: Cache, tokens: Tensor, start: int) -> list[Tensor] | None:
        """Logits (rows, vocabulary) after each of `tokens` (rows, all) from `start` on; the cache holds what is before.

        None where the last row's are not what the network's own forward gives for it as a whole.
        """
        steps: list[Tensor] = []
        try:
            cache.reorder_cache(
                torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
            )  # its one row, for all
            for size in range(start + 1, tokens.shape[1] + 1):
                inputs = self.network.prepare_inputs_for_generation(
                    tokens[:, :size],
                    next_sequence_length=1,
                    cache=cache,
                    attention_mask=torch.ones_like(tokens[:, :size]),
                    use_cache=True,
                )
                steps.append(self.network(**inputs).logits[:, -1].float())
        except UNKNOWN_KIND:
            return None
        whole = self.network(input_ids=tokens[-1:], use_cache=False).logits[0, -1].float()
        return steps if relative_error(steps[-1][-1], whole) <= logits_tolerance(self.network.dtype) else None

    def _read(self, prompt: Tensor) -> tuple[Tensor, Cache | None]:
        """Logits (1, vocabulary) after a prompt (tokens,), and the cache that holds it, where there is one."""
        with _without_own_settings(self.network):
            output = self.network.generate(
                input_ids=prompt[None],
                attention_mask=torch.ones_like(prompt)[None],
                generation_config=GenerationConfig(
                    **self._settings(1), return_dict_in_generate=True, output_logits=True
                ),
            )
        cache = output.get("cache", output.get("past_key_values"))
        return output.logits[0].float(), cache if isinstance(cache, Cache) else None

    def _settings(self, most: int) -> dict[str, Any]:
        return {"max_new_tokens": most, "do_sample": False, "use_cache": self.cached, "pad_token_id": 0}

    def all_logits(self, tokens: Tensor) -> Tensor:
        """Logits (rows, tokens, vocabulary), float, after each of `tokens` (rows, tokens), padded at the right."""
        logits: Tensor = self.network(input_ids=tokens, use_cache=False).logits
        return logits.float()


class _Chosen(LogitsProcessor):
    """Leaves `generate`, which takes the most probable token, only the one that was chosen."""

    def __init__(self, choose: Choose) -> None:
        self.choose, self.done = choose, False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        tokens = self.choose(scores.float())
        self.done = tokens is None
        only = torch.full_like(scores, float("-inf"))
        return only.scatter_(1, input_ids[:, -1:] if tokens is None else tokens[:, None], 0.0)


class _WhenChosen(StoppingCriteria):
    """All rows stop at once, when enough was chosen."""

    def __init__(self, chosen: _Chosen) -> None:
        self.chosen = chosen

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
        return torch.full((len(input_ids),), self.chosen.done, device=input_ids.device)


@contextlib.contextmanager
def _without_own_settings(network: PreTrainedModel) -> Iterator[None]:
    """For a while, without the settings a model ships (end tokens, penalties, top_k), which `generate` would add."""
    own = network.generation_config
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.generation_config = own
