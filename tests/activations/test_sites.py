"""The door to a network's inside refuses every network in which its sites would not be what they are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spillover.activations.sites import layer_site, open_trunk
from spillover.models.base import Base
from spillover.models.loading import load
from spillover.store import Store


@pytest.fixture
def network(tiny: Base, store: Store) -> Any:
    return load(tiny, store).network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_llama_is_opened(network: Any, dtype: torch.dtype) -> None:
    trunk = open_trunk(network.to(dtype))
    assert trunk.sites == ("embed", "resid_post.00", "resid_post.01", "final_norm")
    assert layer_site(7) == "resid_post.07"


def test_a_layer_count_that_is_not_the_configurations_is_refused(network: Any) -> None:
    network.config.num_hidden_layers = 3
    with pytest.raises(ValueError, match="LlamaForCausalLM: its configuration says 3 layers, and 0 lists"):
        open_trunk(network)


def test_two_stacks_are_refused(network: Any) -> None:
    network.model.second = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    with pytest.raises(ValueError, match="2 layers, and 2 lists"):
        open_trunk(network)


def test_a_stream_that_changes_between_layers_is_refused(network: Any) -> None:
    def change(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] * 1.01, *args[1:])

    network.model.layers[1].register_forward_pre_hook(change)
    with pytest.raises(ValueError, match=r"layer 1 is not fed what was read at resid_post\.00"):
        open_trunk(network)


def test_layers_that_are_not_run_are_refused(network: Any) -> None:
    stack, network.model.layers = network.model.layers, torch.nn.ModuleList([network.model.layers[0]])
    network.model.unused = stack
    with pytest.raises(ValueError, match="1 of 2 layers were run"):
        open_trunk(network)


def test_a_layer_that_is_run_twice_is_refused(network: Any) -> None:
    network.model.layers[1] = network.model.layers[0]
    with pytest.raises(ValueError, match=r"is not one residual stream|is not fed"):
        open_trunk(network)


def test_a_network_that_looks_ahead_is_refused(network: Any) -> None:
    """Right padding is unseen in causal networks alone; in this one it would enter every activation."""
    for layer in network.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(ValueError, match=r"run one after the other, differ from one run \(by .*only causal models"):
        open_trunk(network)


def test_a_network_that_does_not_go_on_from_its_cache_is_refused(network: Any) -> None:
    forward = network.model.forward

    def forgetful(input_ids: Any, cache: Any = None, use_cache: bool = False) -> Any:
        output = forward(input_ids=input_ids, use_cache=False)
        if cache is not None and not cache.layers:
            forward(input_ids=input_ids, cache=cache, use_cache=True)
        return output

    network.model.forward = forgetful
    with pytest.raises(ValueError, match="run one after the other, differ from one run"):
        open_trunk(network)
