"""Capture: batched equals one by one at every site and pooling, whatever the batch, the padding or the common head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models.forward.test_packing import network_of

from activations.reference import EVERYTHING, by_hooks, captured, furthest, one_by_one
from spillover.activations import capture as module
from spillover.activations.capture import POOLINGS, ActivationSelection, TokenizedText, batches, groups
from spillover.activations.sites import KINDS
from spillover.models.base import Base
from spillover.models.forward.packing import pack_linear_layers
from spillover.models.loading import load
from spillover.store import Store

HEAD = list(range(40, 70))
PROMPTS = [
    [1, 2, 3],
    [7],
    [*HEAD, 9, 8, 7, 6],
    [*HEAD, 9, 8],
    list(range(100, 190)),
    HEAD,
    [1, 2, 3],
    [*HEAD[:20], 3],
]
ANSWERS = [[5], [9, 9, 4], [3, 2], [3, 2, 1, 1, 1, 1], [8], [30] * 40, [6, 5], [4, 4]]
TEXTS = [TokenizedText((*prompt, *answer), len(prompt)) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
ENDS = [text.prompt_length for text in TEXTS]
COMPLETED = ActivationSelection(sites=KINDS, poolings=POOLINGS)
TOLERANCE = 1e-5


@pytest.fixture
def network(tiny: Base, store: Store) -> torch.nn.Module:
    return load(tiny, store).network


def test_it_is_what_the_model_itself_reports(network: torch.nn.Module) -> None:
    states, hooks = one_by_one(network, PROMPTS), by_hooks(network, PROMPTS)
    arrays = captured(network, PROMPTS)
    assert furthest(states, arrays) < TOLERANCE
    assert furthest(hooks, arrays) < TOLERANCE  # padded on the other side
    assert set(arrays) == set(states) | set(hooks)
    normed = network.model.norm(torch.from_numpy(arrays["resid_post.01.last"])).detach().numpy()
    np.testing.assert_allclose(normed, arrays["final_norm.last"], rtol=1e-4, atol=1e-5)
    assert all(array.shape == (len(PROMPTS), 32) and array.dtype == np.float32 for array in arrays.values())


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_batch_size_does_not_matter(network: torch.nn.Module, batch_tokens: int) -> None:
    states, hooks = one_by_one(network, PROMPTS), by_hooks(network, PROMPTS)
    assert furthest(states | hooks, captured(network, PROMPTS, batch_tokens=batch_tokens)) < TOLERANCE


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
def test_completions_are_pooled_apart_from_their_prompts(network: torch.nn.Module, batch_tokens: int) -> None:
    ids = [text.ids for text in TEXTS]
    expected = one_by_one(network, ids, ENDS) | by_hooks(network, ids, ENDS)
    arrays = captured(network, TEXTS, COMPLETED, batch_tokens)
    assert furthest(expected, arrays) < TOLERANCE and set(expected) == set(arrays)
    prompts_alone = captured(network, PROMPTS)  # in a causal model what follows a prompt does not change it
    assert furthest(prompts_alone, arrays) < TOLERANCE


def test_a_prompt_with_several_completions_is_run_once(network: torch.nn.Module) -> None:
    again = [TokenizedText((*HEAD, 9, 8, *answer), len(HEAD) + 2) for answer in ANSWERS]
    assert groups([text.ids[: text.prompt_length] for text in again], completed=True) == [
        (len(HEAD) + 1, list(range(8)))
    ]
    ids, ends = [text.ids for text in again], [text.prompt_length for text in again]
    assert furthest(one_by_one(network, ids, ends), captured(network, again, COMPLETED)) < TOLERANCE


def test_only_what_is_asked_for_is_kept(network: torch.nn.Module) -> None:
    whole = captured(network, TEXTS, COMPLETED)
    some = captured(network, TEXTS, ActivationSelection(("mlp_out", "embed"), (1,), ("completion",)))
    assert set(some) == {"embed.completion", "mlp_out.01.completion"}
    assert furthest(some, whole) < TOLERANCE
    with pytest.raises(ValueError, match="layer 2 is asked for; the model has layers 0 to 1"):
        captured(network, TEXTS, ActivationSelection(layers=(0, 2)))
    with pytest.raises(ValueError, match="there is no completion to take the mean of"):
        captured(network, PROMPTS, COMPLETED)


def test_the_stream_is_the_sum_of_its_parts(network: torch.nn.Module) -> None:
    arrays = captured(network, TEXTS, COMPLETED)
    for pooling in POOLINGS:
        for layer in ("00", "01"):
            parts = [arrays[f"{kind}.{layer}.{pooling}"] for kind in ("resid_pre", "attn_out", "mlp_out")]
            np.testing.assert_allclose(sum(parts), arrays[f"resid_post.{layer}.{pooling}"], rtol=1e-3, atol=1e-4)
            assert np.linalg.norm(parts[1]) > 0.01 * np.linalg.norm(parts[0])  # or the sum would show nothing
        np.testing.assert_array_equal(arrays[f"resid_pre.01.{pooling}"], arrays[f"resid_post.00.{pooling}"])


def test_a_common_head_does_not_matter(network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = captured(network, PROMPTS)
    assert max(head for head, _ in groups(PROMPTS)) > 0
    monkeypatch.setattr(module, "SHARED_TOKENS", 10_000)  # only equal prompts share anything
    assert furthest(shared, captured(network, PROMPTS)) < TOLERANCE


def test_order_and_company_do_not_matter(network: torch.nn.Module) -> None:
    whole = captured(network, TEXTS, COMPLETED)
    order = [3, 0, 6, 5]
    part = captured(network, [TEXTS[index] for index in order], COMPLETED)
    assert furthest({name: array[order] for name, array in whole.items()}, part) < TOLERANCE


@pytest.mark.parametrize("family", ["llama with biases", "qwen2", "gemma2", "gemma3", "mistral", "phi3", "gpt_neox"])
def test_packed_layers_show_what_plain_ones_show_at_every_site(family: str) -> None:
    plain, packed = network_of(family), network_of(family)
    pack_linear_layers(packed)
    shown = captured(packed, TEXTS, COMPLETED)
    assert furthest(captured(plain, TEXTS, COMPLETED), shown) < TOLERANCE
    assert len(shown) == (4 * len(packed.base_model.layers) + 2) * len(POOLINGS)


def test_prompts_that_differ_are_told_apart(network: torch.nn.Module) -> None:
    """The control of the tests above: the tolerance is far below what one other token does."""
    texts = [TokenizedText((*HEAD, token, token), len(HEAD) + 1) for token in (9, 10)]
    nine, ten = (captured(network, [text], COMPLETED) for text in texts)
    for name, array in nine.items():
        assert np.linalg.norm(array - ten[name]) > 100 * TOLERANCE * np.linalg.norm(array), name


def test_the_same_capture_gives_the_same_bytes(network: torch.nn.Module) -> None:
    first, second = captured(network, TEXTS, COMPLETED), captured(network, TEXTS, COMPLETED)
    assert all(array.tobytes() == second[name].tobytes() for name, array in first.items())


def test_no_logits_are_computed_and_no_hook_stays(network: torch.nn.Module) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the output head was run")

    handle = network.get_output_embeddings().register_forward_pre_hook(refuse)
    captured(network, PROMPTS)
    handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_hooks_are_taken_away_after_an_error(network: torch.nn.Module) -> None:
    def refuse(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captured(network, PROMPTS, progress=refuse)
    with pytest.raises(IndexError):
        captured(network, [[10_000]])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_progress_is_told_up_to_the_end(network: torch.nn.Module) -> None:
    heard: list[float] = []
    captured(network, PROMPTS, EVERYTHING, 40, heard.append)
    assert heard == sorted(heard) and len(heard) > 3 and heard[-1] == 1.0


def test_numbers_that_are_not_finite_are_refused(network: torch.nn.Module) -> None:
    with torch.no_grad():
        network.get_input_embeddings().weight[200] = float("inf")
    captured(network, [[1, 2]])
    with pytest.raises(ValueError, match="1 of 2 prompts have activations at embed that are not finite"):
        captured(network, [[1, 2], [200, 2]])


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=40)


@given(st.lists(tokens, min_size=1, max_size=20))
def test_every_prompt_is_in_one_group_with_a_head_of_its_own_and_a_tail(prompts: list[list[int]]) -> None:
    grouped = groups(prompts)
    assert sorted(index for _, members in grouped for index in members) == list(range(len(prompts)))
    for head, members in grouped:
        assert len({tuple(prompts[index][:head]) for index in members}) == 1
        assert all(len(prompts[index]) > head for index in members)


def test_what_chat_prompts_have_in_common_is_found() -> None:
    assert groups([[*HEAD, 1], [*HEAD, 2], [5]]) == [(0, [2]), (len(HEAD), [0, 1])]
    assert groups([HEAD, HEAD]) == [(len(HEAD) - 1, [0, 1])]


@given(st.dictionaries(st.integers(0, 99), st.integers(1, 50), min_size=1), st.integers(1, 200))
def test_batches_hold_every_prompt_once_and_stay_within_their_tokens(lengths: dict[int, int], limit: int) -> None:
    batched = list(batches(lengths, limit))
    assert sorted(index for rows in batched for index in rows) == sorted(lengths)
    for rows in batched:
        assert len(rows) == 1 or len(rows) * max(lengths[index] for index in rows) <= limit
