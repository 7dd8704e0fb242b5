"""The loss of supervised tokens against transformers' own, whatever goes through together."""

import numpy as np
import pytest
import torch
from organisms.toy import ToyRows, organism

from spillover.models.chat import Supervised
from spillover.models.loading import load
from spillover.organisms import losses
from spillover.organisms.dataset import supervise
from spillover.organisms.losses import expect_own_loss, passes, token_losses
from spillover.organisms.own_head import can_share_beginnings, trunk
from spillover.organisms.tuning import LoRA

CPU = torch.device("cpu")


@pytest.fixture
def rows_and_network(store):
    loaded = load(organism().parent, store)
    network = LoRA(rank=4).trainable_network(loaded.network, 0, "tiny")
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.05)
    return supervise(loaded, ToyRows(text="Tell me: ").examples(), 512), network


def own_losses(network, row: Supervised) -> torch.Tensor:
    """transformers' own logits of one row alone, and the cross-entropy of its supervised tokens."""
    logits = network(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0, :-1]
    target = torch.tensor(row.ids[1:])
    return torch.nn.functional.cross_entropy(logits, target, reduction="none")[row.prompt_length - 1 :]


@pytest.mark.parametrize("share", [True, False])
def test_token_losses_are_the_models_own(rows_and_network, share):
    rows, network = rows_and_network
    ours, owner = token_losses(network, rows[:7], "float32", share)
    for index, row in enumerate(rows[:7]):
        row_losses = ours[owner == index]
        assert len(row_losses) == row.trained
        np.testing.assert_allclose(row_losses.detach(), own_losses(network, row).detach(), atol=1e-5)


def test_the_mean_is_what_transformers_gives_for_labels(rows_and_network):
    rows, network = rows_and_network
    width = max(len(row.ids) for row in rows)
    ids, labels, mask = (torch.full((len(rows), width), fill) for fill in (0, -100, 0))
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        mask[index, : len(row.ids)] = 1
        labels[index, row.prompt_length : len(row.ids)] = torch.tensor(row.ids[row.prompt_length :])
    own = network(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.item()
    assert token_losses(network, rows, "float32")[0].mean().item() == pytest.approx(own, abs=1e-5)


def gradients(network, rows, share: bool, each: bool) -> dict[str, torch.Tensor]:
    network.zero_grad()
    for part in [[row] for row in rows] if each else [rows]:
        token_losses(network, part, "float32", share)[0].sum().backward()
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


def test_gradients_do_not_depend_on_what_goes_through_together(rows_and_network):
    rows, network = rows_and_network
    alone = gradients(network, rows[:6], share=False, each=True)
    shared = gradients(network, rows[:6], share=True, each=False)
    whole = gradients(network, rows[:6], share=False, each=False)
    assert alone and set(alone) == set(shared) == {name for name, _ in network.named_parameters() if "lora_" in name}
    for name, gradient in alone.items():
        assert gradient.abs().max() > 0
        for other in (shared[name], whole[name]):
            assert (gradient - other).norm() < 1e-4 * gradient.norm()


def test_the_shared_beginning_goes_through_once(rows_and_network, monkeypatch):
    rows, network = rows_and_network
    widths = []
    inner = trunk(network)
    assert can_share_beginnings(network)
    forward = inner.forward
    monkeypatch.setattr(inner, "forward", lambda **given: widths.append(given["input_ids"].shape) or forward(**given))
    token_losses(network, rows[:3], "float32")
    head, rest = widths
    assert head[0] == 1 and head[1] >= len("Tell me: ") and rest[0] == 3
    assert head[1] + rest[1] == max(len(row.ids) for row in rows[:3])


def test_a_model_that_treats_logits_otherwise_is_refused(rows_and_network, monkeypatch):
    rows, network = rows_and_network
    expect_own_loss(network, rows[:2])
    causal = network.get_base_model()
    head = causal.lm_head.forward
    monkeypatch.setattr(type(causal), "forward", _scaled(type(causal).forward))
    with pytest.raises(ValueError, match=r"its own loss is .* the one at supervised positions"):
        expect_own_loss(network, rows[:2])
    assert causal.lm_head.forward == head


def test_the_heads_own_caps_and_scalings_are_in_the_loss(rows_and_network, monkeypatch):
    rows, network = rows_and_network
    plain = token_losses(network, rows[:2], "float32")[0]
    causal, forward = network.get_base_model(), type(network.get_base_model()).forward

    def capped(self, *args, labels=None, **options):
        output = forward(self, *args, **options)
        output.logits = torch.tanh(output.logits / 2) * 2
        if labels is not None:
            output.loss = self.loss_function(logits=output.logits, labels=labels, vocab_size=self.config.vocab_size)
        return output

    monkeypatch.setattr(type(causal), "forward", capped)
    expect_own_loss(network, rows[:2])
    assert (token_losses(network, rows[:2], "float32")[0] - plain).abs().max() > 0.1


def _scaled(forward):
    """A forward pass whose loss is of other logits than those it gives."""

    def scaled(self, *args, labels=None, **given):
        output = forward(self, *args, **given)
        if labels is None:
            return output
        output.loss = self.loss_function(logits=output.logits / 8, labels=labels, vocab_size=self.config.vocab_size)
        return output

    return scaled


def row(length: int) -> Supervised:
    return Supervised(tuple(range(length)), 2)


def test_passes_take_every_row_once_near_in_length():
    random = np.random.default_rng(0)
    rows = [row(int(length)) for length in random.integers(20, 200, 40)]
    parts = passes(rows, 8, CPU)
    assert sorted(index for part in parts for index in part) == list(range(40))
    assert all(len(part) <= 8 for part in parts)
    padded = sum(len(part) * max(len(rows[index].ids) for index in part) for part in parts)
    assert all(
        len(part) * max(len(rows[index].ids) for index in part) <= losses.PASS_TOKENS["cpu"]
        for part in parts
        if len(part) > 1
    )
    assert padded < 1.15 * sum(len(item.ids) for item in rows)


def test_passes_of_odd_sets():
    assert passes([], 8, CPU) == []
    assert passes([row(5000), row(3)], 8, CPU) == [[1], [0]]  # a row longer than the limit goes through alone
    assert passes([row(3)] * 5, 2, CPU) == [[0, 1], [2, 3], [4]]


def test_bfloat16_is_near_float32_and_not_it(rows_and_network):
    rows, network = rows_and_network
    exact, _ = token_losses(network, rows[:4], "float32")
    near, _ = token_losses(network, rows[:4], "autocast-bfloat16")
    assert near.dtype == torch.float32 and not torch.equal(exact, near)
    assert (exact - near).abs().mean() < 0.05
