"""The loop on small random models of other families: windows, grouped heads and biases are the network's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from spillover.models.catalogue import base_of
from spillover.models.forward.cached_network import cached_network
from spillover.models.forward.load_models import LoadedModels
from spillover.models.loading import Loaded
from spillover.models.tiny import byte_tokenizer
from spillover.responses.samplers.decoding import Draft, Rules, write_answers
from spillover.responses.sampling import uniforms

SIZE = {
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 257,
}
TURNS = ["sliding_attention", "full_attention"] * 2
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {}),
    "qwen2 with windows": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 9, "layer_types": TURNS}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mistral with a window": ("MistralConfig", {"sliding_window": 9}),
    "phi3": ("Phi3Config", {"sliding_window": None}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 9, "layer_types": TURNS, "head_dim": 16}),
}


def loaded_of(family: str) -> Loaded:
    name, changes = FAMILIES[family]
    config = getattr(transformers, name)(**{**SIZE, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    return Loaded(network.requires_grad_(False), byte_tokenizer(), base_of("tiny:0"))


def _greedy(loaded: Loaded, prompts: list[list[int]], rows: int) -> list[list[int]]:
    drafts = [Draft(tuple(prompt), uniforms(0, "", row, 24)) for row, prompt in enumerate(prompts)]
    write_answers(
        LoadedModels(cached_network(loaded.network), loaded),
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
    loaded = loaded_of("mistral with a window")
    prompts = [list(range(60))]
    narrow = _greedy(loaded, prompts, rows=8)
    loaded.network.config.sliding_window = None
    assert _greedy(loaded, prompts, rows=8) != narrow


def test_a_kind_of_layer_that_the_loop_does_not_know_is_refused() -> None:
    loaded = loaded_of("qwen2")
    loaded.network.config.layer_types = ["full_attention", "linear_attention"] * 2
    with pytest.raises(ValueError, match="linear_attention cannot be sampled"):
        _greedy(loaded, [[1, 2, 3]], rows=8)
