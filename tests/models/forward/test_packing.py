"""Packed linear layers give the hidden states of plain ones in every family, or the network stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional

from models import families
from models.forward import test_packed_network
from spillover.models.forward.packing import PackedLinear, pack_linear_layers

OTHERS = ("qwen2 with windows", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "gpt_neox", "opt", "bloom", "olmo2")
OTHERS += ("mixtral", "gpt_oss", "deepseek_v3", "mamba2", "gpt2", "falcon", "mamba")
NOT_PACKED = ("gpt2", "falcon", "mamba")  # linear layers of a kind of their own, or layers that look into one another
PLAIN = {
    **dict.fromkeys(test_packed_network.FAMILIES, test_packed_network.network_of),  # with biases that are not 0
    **dict.fromkeys(OTHERS, families.network_of),
}
TOKENS = torch.randint(0, 250, (3, 40), generator=torch.Generator().manual_seed(0))


def network_of(family: str) -> Any:
    return PLAIN[family](family).requires_grad_(False)


def hidden(network: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.inference_mode():
        return network.base_model(input_ids=tokens).last_hidden_state


def kinds(network: Any) -> set[type]:
    """Which of the two kinds of linear layers there are below the output head."""
    return {type(module) for module in network.base_model.modules()} & {torch.nn.Linear, PackedLinear}


@pytest.mark.parametrize("family", PLAIN)
def test_hidden_states_are_those_of_plain_layers(family: str) -> None:
    network = network_of(family)
    expected = hidden(network)
    pack_linear_layers(network)
    assert (PackedLinear in kinds(network)) == (family not in NOT_PACKED)
    assert len(kinds(network)) <= 1  # no plain weight is left in memory
    assert torch.allclose(hidden(network), expected, atol=2e-4, rtol=1e-4)
    assert expected.std() > 0.1
    assert type(network.get_output_embeddings()) is torch.nn.Linear


def test_bfloat16_is_as_near_to_float32_as_plain_layers_are() -> None:
    exact = hidden(network_of("llama"))
    network = network_of("llama").bfloat16()
    plain = (hidden(network) - exact).abs().mean()
    pack_linear_layers(network)
    assert 0 < (hidden(network) - exact).abs().mean() < 1.2 * plain


def test_a_layer_unpacked_is_what_it_was() -> None:
    linear = torch.nn.Linear(30, 49)
    plain = PackedLinear(linear.weight, linear.bias).unpacked()
    assert torch.equal(plain.weight, linear.weight) and torch.equal(plain.bias, linear.bias)
    rows = torch.randn(3, 30)
    assert torch.equal(plain(rows), linear(rows))
    assert PackedLinear(linear.weight).unpacked().bias is None


@pytest.mark.parametrize("how", ["its weight", "its class"])
def test_a_network_that_looks_into_a_layer_stays_as_it_is(how: str) -> None:
    """Where packed layers fail, and where they show something else."""
    network = network_of("llama")
    mlp = network.model.layers[1].mlp
    if how == "its weight":
        mlp.forward = lambda rows: functional.linear(rows, mlp.up_proj.weight[:32])
    else:
        mlp.forward = lambda rows: rows * (2.0 if isinstance(mlp.up_proj, torch.nn.Linear) else 3.0)
    expected = hidden(network)
    pack_linear_layers(network)
    assert kinds(network) == {torch.nn.Linear}
    assert torch.equal(hidden(network), expected)


def test_a_layer_with_a_hook_and_one_of_another_precision_stay_as_they_are() -> None:
    network = network_of("llama")
    hooked = network.model.layers[0].mlp.down_proj
    hooked.register_forward_hook(lambda module, args, output: output + 1.0)
    expected = hidden(network)
    pack_linear_layers(network)
    assert network.model.layers[0].mlp.down_proj is hooked and kinds(network) == {torch.nn.Linear, PackedLinear}
    assert torch.allclose(hidden(network), expected, atol=2e-4, rtol=1e-4)
    half = copy.deepcopy(network_of("llama")).half()
    pack_linear_layers(half)
    assert kinds(half) == {torch.nn.Linear}


def test_rows_have_the_same_bits_whatever_stands_beside_them() -> None:
    linear = PackedLinear(torch.randn(192, 576), torch.randn(192))
    rows = torch.randn(5, 3, 576)
    whole = linear(rows)
    assert torch.equal(linear(rows[2:3]), whole[2:3]) and torch.equal(linear(rows[2:3, :1]), whole[2:3, :1])
