"""What a token may look at is what the network's own forward lets it look at, whatever attention makes of a mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.families import network_of
from models.forward.test_packed_network import logits
from spillover.models.forward import cached_network
from spillover.models.forward.cached_network import TransformersNetwork

PROMPT_SIZES = (1, 2, 16, 17, 33, 60)  # of those that `logits` reads


def own_logits(network: Any, steps: int = 3) -> torch.Tensor:
    """What `logits` gives, each row by a plain forward of its own."""
    drawn = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, 250, (size,), generator=drawn).tolist() for size in PROMPT_SIZES]
    with torch.inference_mode():
        rows = [network(torch.tensor([[*prompt, 8, 9]])).logits[0, len(prompt) - 1 :] for prompt in prompts]
    return torch.stack(rows, dim=1)[:steps]


ADDED = [(family, "eager") for family in ("llama", "mistral", "gemma2", "gemma3", "gpt_oss", "olmo3")]
CHOSEN = [(family, "sdpa") for family in ("llama", "mistral", "gemma3", "olmo3")]


@pytest.mark.parametrize(("family", "attention"), ADDED + CHOSEN)
def test_logits_are_those_of_the_networks_own_forward(family: str, attention: str) -> None:
    network = network_of(family, attn_implementation=attention)
    assert network.config._attn_implementation == attention
    expected = own_logits(network)
    assert (logits(network, TransformersNetwork(network)) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss"])
def test_a_boolean_mask_would_forbid_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(family)
    monkeypatch.setattr(cached_network, "attention_mask", lambda network, allowed: allowed)
    expected = own_logits(network)
    assert (logits(network, TransformersNetwork(network)) - expected).abs().max() > 0.1 * expected.abs().max()
