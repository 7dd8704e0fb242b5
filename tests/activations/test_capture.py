"""Capture: batched equals one by one, whatever the batch, the padding or the common head; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from activations.reference import furthest, one_by_one
from spillover.activations import capture as module
from spillover.activations.capture import batches, capture, groups
from spillover.models.base import Base
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
TOLERANCE = 1e-5


@pytest.fixture
def network(tiny: Base, store: Store) -> torch.nn.Module:
    return load(tiny, store).network


def quiet(share: float) -> None:
    """Nobody listens."""


def test_it_is_what_the_model_itself_reports(network: torch.nn.Module) -> None:
    reference = one_by_one(network, PROMPTS)
    found = capture(network, PROMPTS, quiet)
    assert furthest(reference, found) < TOLERANCE
    assert set(found) - set(reference) == {"resid_post.01.last", "resid_post.01.mean"}
    normed = network.model.norm(torch.from_numpy(found["resid_post.01.last"])).detach().numpy()
    np.testing.assert_allclose(normed, found["final_norm.last"], rtol=1e-4, atol=1e-5)
    assert all(array.shape == (len(PROMPTS), 32) and array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_batch_size_does_not_matter(network: torch.nn.Module, batch_tokens: int) -> None:
    assert furthest(one_by_one(network, PROMPTS), capture(network, PROMPTS, quiet, batch_tokens)) < TOLERANCE


def test_a_common_head_does_not_matter(network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = capture(network, PROMPTS, quiet)
    assert max(head for head, _ in groups(PROMPTS)) > 0
    monkeypatch.setattr(module, "SHARED_TOKENS", 10_000)  # only equal prompts share anything
    assert furthest(shared, capture(network, PROMPTS, quiet)) < TOLERANCE


def test_order_and_company_do_not_matter(network: torch.nn.Module) -> None:
    whole = capture(network, PROMPTS, quiet)
    order = [3, 0, 6, 5]
    part = capture(network, [PROMPTS[index] for index in order], quiet)
    assert furthest({name: array[order] for name, array in whole.items()}, part) < TOLERANCE


def test_prompts_that_differ_are_told_apart(network: torch.nn.Module) -> None:
    """The control of the tests above: the tolerance is far below what one other token does."""
    one, other = (capture(network, [[*HEAD, token]], quiet) for token in (9, 10))
    for name, array in one.items():
        assert np.linalg.norm(array - other[name]) > 100 * TOLERANCE * np.linalg.norm(array), name


def test_the_same_capture_gives_the_same_bytes(network: torch.nn.Module) -> None:
    one, other = capture(network, PROMPTS, quiet), capture(network, PROMPTS, quiet)
    assert all(array.tobytes() == other[name].tobytes() for name, array in one.items())


def test_no_logits_are_computed_and_no_hook_stays(network: torch.nn.Module) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the output head was run")

    handle = network.get_output_embeddings().register_forward_pre_hook(refuse)
    capture(network, PROMPTS, quiet)
    handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_hooks_are_taken_away_after_an_error(network: torch.nn.Module) -> None:
    def refuse(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(network, PROMPTS, refuse)
    with pytest.raises(IndexError):
        capture(network, [[10_000]], quiet)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_progress_is_told_up_to_the_end(network: torch.nn.Module) -> None:
    heard: list[float] = []
    capture(network, PROMPTS, heard.append, batch_tokens=40)
    assert heard == sorted(heard) and len(heard) > 3 and heard[-1] == 1.0


def test_numbers_that_are_not_finite_are_refused(network: torch.nn.Module) -> None:
    with torch.no_grad():
        network.get_input_embeddings().weight[200] = float("inf")
    capture(network, [[1, 2]], quiet)
    with pytest.raises(ValueError, match="1 of 2 prompts have activations at embed that are not finite"):
        capture(network, [[1, 2], [200, 2]], quiet)


tokens = st.lists(st.integers(0, 2), min_size=1, max_size=40)


@given(st.lists(tokens, min_size=1, max_size=20))
def test_every_prompt_is_in_one_group_with_a_head_of_its_own_and_a_tail(prompts: list[list[int]]) -> None:
    found = groups(prompts)
    assert sorted(index for _, members in found for index in members) == list(range(len(prompts)))
    for head, members in found:
        assert len({tuple(prompts[index][:head]) for index in members}) == 1
        assert all(len(prompts[index]) > head for index in members)


def test_what_chat_prompts_have_in_common_is_found() -> None:
    assert groups([[*HEAD, 1], [*HEAD, 2], [5]]) == [(0, [2]), (len(HEAD), [0, 1])]
    assert groups([HEAD, HEAD]) == [(len(HEAD) - 1, [0, 1])]


@given(st.dictionaries(st.integers(0, 99), st.integers(1, 50), min_size=1), st.integers(1, 200))
def test_batches_hold_every_prompt_once_and_stay_within_their_tokens(lengths: dict[int, int], limit: int) -> None:
    found = list(batches(lengths, limit))
    assert sorted(index for rows in found for index in rows) == sorted(lengths)
    for rows in found:
        assert len(rows) == 1 or len(rows) * max(lengths[index] for index in rows) <= limit
