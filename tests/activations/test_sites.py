"""The door to a network's inside refuses every network in which its sites would not be what they are called."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from spillover.activations.find_layers import find_layers
from spillover.activations.sites import KINDS, layer_site, site_names
from spillover.models.base import Base
from spillover.models.loading import load
from spillover.store import Store


@pytest.fixture
def network(tiny: Base, store: Store) -> Any:
    return load(tiny, store).network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_llama_is_opened(network: Any, dtype: torch.dtype) -> None:
    decoder = find_layers(network.to(dtype), added=True)
    assert decoder.added == tuple((layer.self_attn, layer.mlp) for layer in network.model.layers)
    assert (len(decoder.layers), decoder.width) == (2, 32)
    assert find_layers(network).added == ()


def test_sites_are_named_in_the_order_in_which_they_are_computed() -> None:
    assert layer_site(7) == "resid_post.07" and layer_site(7, "mlp_out") == "mlp_out.07"
    assert site_names(("final_norm", "resid_post", "embed"), (0, 1)) == (
        *("embed", "resid_post.00", "resid_post.01"),
        "final_norm",
    )
    assert site_names(KINDS, (3,))[1:-1] == ("resid_pre.03", "attn_out.03", "mlp_out.03", "resid_post.03")


def test_normed_outputs_are_what_enters_the_stream_of_a_gemma() -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["full_attention"] * 2}
    network = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, **heads, pad_token_id=0)).eval()
    decoder = find_layers(network, added=True)
    norms = [(layer.post_attention_layernorm, layer.post_feedforward_layernorm) for layer in network.model.layers]
    assert decoder.added == tuple(norms)


def test_halves_that_run_side_by_side_are_found() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GPTNeoXConfig(**sizes, vocab_size=64, use_parallel_residual=True, bos_token_id=0, eos_token_id=0)
    network = GPTNeoXForCausalLM(config).eval()
    decoder = find_layers(network, added=True)
    hidden_at: dict[str, Any] = {}
    decoder.run(
        torch.tensor([[3, 4, 5]]), lambda site, hidden: hidden_at.update({site: hidden}), site_names(KINDS, (1,))
    )
    attention, mlp = hidden_at["attn_out.01"], hidden_at["mlp_out.01"]
    torch.testing.assert_close(hidden_at["resid_pre.01"] + attention + mlp, hidden_at["resid_post.01"])
    torch.testing.assert_close(
        network.gpt_neox.layers[1].mlp(network.gpt_neox.layers[1].post_attention_layernorm(hidden_at["resid_pre.01"])),
        mlp,
    )


def test_parts_that_do_not_add_up_are_refused(network: Any) -> None:
    """A push on what a layer hands on, as steering gives, is no output of attention or MLP."""
    network.model.layers[1].register_forward_hook(lambda module, args, output: output + 1.0)
    find_layers(network)
    with pytest.raises(ValueError, match="no two parts of layer 1 add up to what it adds to the residual stream"):
        find_layers(network, added=True)


def test_a_layer_count_that_is_not_the_configurations_is_refused(network: Any) -> None:
    network.config.num_hidden_layers = 3
    with pytest.raises(ValueError, match="LlamaForCausalLM: its configuration says 3 layers, and 0 lists"):
        find_layers(network)


def test_two_stacks_are_refused(network: Any) -> None:
    network.model.second = torch.nn.ModuleList([torch.nn.Identity(), torch.nn.Identity()])
    with pytest.raises(ValueError, match="2 layers, and 2 lists"):
        find_layers(network)


def test_a_stream_that_changes_between_layers_is_refused(network: Any) -> None:
    def change(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] * 1.01, *args[1:])

    network.model.layers[1].register_forward_pre_hook(change)
    with pytest.raises(ValueError, match=r"layer 1 is not fed what was read at resid_post\.00"):
        find_layers(network)


def test_layers_that_are_not_run_are_refused(network: Any) -> None:
    stack, network.model.layers = network.model.layers, torch.nn.ModuleList([network.model.layers[0]])
    network.model.unused = stack
    with pytest.raises(ValueError, match="1 of 2 layers were run"):
        find_layers(network)


def test_a_layer_that_is_run_twice_is_refused(network: Any) -> None:
    network.model.layers[1] = network.model.layers[0]
    with pytest.raises(ValueError, match=r"is not one residual stream|is not fed"):
        find_layers(network)


def test_a_network_that_looks_ahead_is_refused(network: Any) -> None:
    """Right padding is unseen in causal networks alone; in this one it would enter every activation."""
    for layer in network.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(ValueError, match=r"differ with what follows them \(by .*only causal models"):
        find_layers(network)


def test_a_network_that_does_not_go_on_from_its_cache_is_run_through_whole(network: Any) -> None:
    forward = network.model.forward

    def forgetful(input_ids: Any, cache: Any = None, use_cache: bool = False) -> Any:
        output = forward(input_ids=input_ids, use_cache=False)
        if cache is not None and not cache.layers:
            forward(input_ids=input_ids, cache=cache, use_cache=True)
        return output

    network.model.forward = forgetful
    assert not find_layers(network).keeps_keys
