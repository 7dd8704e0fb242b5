"""Networks written out say what transformers' own modules say; what is not known is left to those."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from models.families import SIZE
from spillover.models.forward.cached_network import CachedNetwork, TransformersNetwork, read_prompts
from spillover.models.forward.packed_network import PackedNetwork, packed_network
from spillover.models.forward.packing import PackedLinear
from spillover.models.forward.probing import askable
from spillover.models.forward.row_cache import RowCache

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama with biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama with wide heads": ("LlamaConfig", {"head_dim": 16, "num_key_value_heads": 4}),
    "llama with scaled rotations": ("LlamaConfig", {"rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2Config", {}),
}


def network_of(family: str) -> Any:
    """Random in every weight, norms and biases too."""
    name, changes = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, name)(**SIZE | changes)
        network = transformers.AutoModelForCausalLM.from_config(config).float().eval().requires_grad_(False)
        for weight in network.parameters():
            if weight.ndim == 1:
                weight += 0.3 * torch.randn(weight.shape)
    return network


def logits(network: Any, way: CachedNetwork, steps: int = 3) -> torch.Tensor:
    """After prompts of unlike lengths and some tokens more, (steps, rows, vocabulary)."""
    drawn = torch.Generator().manual_seed(1)
    prompts = [tuple(torch.randint(0, 250, (size,), generator=drawn).tolist()) for size in (1, 2, 16, 17, 33, 60)]
    after_steps = []
    with torch.inference_mode():
        cache = RowCache(network, len(prompts), 80)
        read_prompts(way, cache, prompts)
        for step in range(steps):
            positions = torch.tensor([[len(prompt) - 1 + step] for prompt in prompts])
            cache.position.move(torch.arange(len(prompts)), positions, every=True)
            after_steps.append(
                way.next_logits(torch.tensor([[prompt[-1] if step == 0 else 7 + step] for prompt in prompts]), cache)
            )
    return torch.stack(after_steps)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family: str) -> None:
    network = network_of(family)
    quick = askable(network)
    assert isinstance(quick, PackedNetwork)
    expected = logits(network, TransformersNetwork(network))
    assert torch.allclose(logits(network, quick), expected, atol=2e-4, rtol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_as_near_to_float32_as_transformers_own(family: str) -> None:
    exact = logits(network_of(family), TransformersNetwork(network_of(family)))
    half = network_of(family).bfloat16()
    quick = askable(half)
    assert isinstance(quick, PackedNetwork)
    ours, theirs = ((logits(half, way) - exact).abs().mean() for way in (quick, TransformersNetwork(half)))
    assert 0 < ours < 1.2 * theirs < 0.2 * exact.std()


@pytest.mark.parametrize("counts", [[8, 8], [3, 8], [1, 1], [1, 8]])
def test_what_only_fills_a_block_up_does_not_matter(counts: list[int]) -> None:
    """Same keys and values, bit for bit, whatever tokens fill up; other tokens that count are told."""
    network, place = network_of("llama"), torch.arange(8).expand(2, 8)
    keys = []
    for filler, first in ((0, 5), (77, 5), (0, 6)):
        tokens = torch.full((2, 8), filler)
        for row, count in enumerate(counts):
            tokens[row, :count] = torch.arange(first, first + count)
        with torch.inference_mode():
            cache = RowCache(network, 2, 16)
            cache.position.move(torch.arange(2), place, counts=counts)
            PackedNetwork(network).prefill(tokens, cache)
        keys.append(
            torch.cat([layer.keys[row, :, :count] for layer in cache.layers for row, count in enumerate(counts)], 1)
        )
    assert torch.equal(keys[0], keys[1]) and not torch.equal(keys[0], keys[2])


@pytest.mark.parametrize(
    "part",
    [
        "model.layers.1.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.3.mlp.up_proj.bias",
        "model.norm.weight",
    ],
)
def test_every_weight_matters(part: str) -> None:
    """The negative control: a network that differs in one weight is told from it."""
    network = network_of("llama with biases")
    quick = askable(network)
    network.get_parameter(part).mul_(1.05)
    assert not torch.allclose(
        logits(network, quick), logits(network, TransformersNetwork(network)), atol=2e-4, rtol=1e-4
    )


def test_what_is_not_known_is_left_to_transformers() -> None:
    assert packed_network(network_of("llama").half()) is None
    assert isinstance(askable(network_of("llama").half()), TransformersNetwork)
    gemma = transformers.AutoModelForCausalLM.from_config(transformers.Gemma3TextConfig(**SIZE | {"head_dim": 16}))
    assert packed_network(gemma) is None
    windows = {"use_sliding_window": True, "sliding_window": 9, "layer_types": ["sliding_attention"] * 4}
    assert (
        packed_network(transformers.AutoModelForCausalLM.from_config(transformers.Qwen2Config(**SIZE | windows)))
        is None
    )
    relu = transformers.LlamaConfig(**SIZE | {"hidden_act": "relu"})
    assert packed_network(transformers.AutoModelForCausalLM.from_config(relu)) is None


def test_a_network_with_a_hook_is_left_to_transformers() -> None:
    network = network_of("llama")
    plain = logits(network, askable(network))
    network.model.layers[1].register_forward_hook(lambda module, args, out: out + 1.0)
    assert isinstance(askable(network), TransformersNetwork)
    assert not torch.allclose(logits(network, askable(network)), plain, atol=0.1)


@pytest.mark.parametrize("shape", [(192, 576), (49, 30)])
def test_a_packed_matrix_gives_a_row_the_same_bits_among_any_others(shape: tuple[int, int]) -> None:
    drawn = torch.Generator().manual_seed(0)
    weight, rows = torch.randn(shape, generator=drawn), torch.randn(128, shape[1], generator=drawn)
    bias = torch.randn(shape[0], generator=drawn)
    with torch.inference_mode():
        product = PackedLinear(weight, bias)
        whole = product(rows)
        assert torch.allclose(whole, torch.nn.functional.linear(rows, weight, bias), atol=1e-3)
        for count in (1, 3, 8, 40, 127):
            assert torch.equal(product(rows[-count:].clone()), whole[-count:])
        assert torch.equal(product(rows.view(16, 8, -1)).flatten(0, 1), whole)
