"""The loop on small random models of other families: windows, grouped heads and biases are the network's own."""

from __future__ import annotations

import pytest
import torch

from models.families import network_of
from spillover.models.catalogue import base_of
from spillover.models.forward.load_models import LoadedModels
from spillover.models.forward.probing import askable
from spillover.models.loading import Loaded
from spillover.models.tiny import byte_tokenizer
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms

FAMILIES = ("qwen2", "qwen2 with windows", "qwen3", "mistral", "phi3", "gemma3")


def loaded_of(family: str) -> Loaded:
    return Loaded(network_of(family).requires_grad_(False), byte_tokenizer(), base_of("tiny:0"))


def _greedy(loaded: Loaded, prompts: list[list[int]], rows: int) -> list[list[int]]:
    drafts = [Draft(tuple(prompt), uniforms(0, "", row, 24)) for row, prompt in enumerate(prompts)]
    write_answers(
        LoadedModels(askable(loaded.network), loaded),
        drafts,
        Rules(24, 0.0, 1.0, frozenset(), (), str),
        rows,
        lambda share: None,
    )
    return [draft.tokens for draft in drafts]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_plain_forwards(family: str) -> None:
    loaded = loaded_of(family)
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, 250, (size,), generator=generator).tolist() for size in (1, 2, 16, 17, 33, 60)]
    answers = _greedy(loaded, prompts, rows=128)
    assert answers == _greedy(loaded, prompts, rows=8)
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = loaded.network(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(dim=-1).tolist() == answer
    assert len({tuple(answer) for answer in answers}) == len(answers)


def test_a_window_matters() -> None:
    loaded = loaded_of("mistral")
    prompts = [list(range(60))]
    narrow = _greedy(loaded, prompts, rows=8)
    loaded.network.config.sliding_window = None
    assert _greedy(loaded, prompts, rows=8) != narrow
