"""Training over a bfloat16 base: the products' gradients, the loss in chunks, and what a run leaves as it is."""

from __future__ import annotations

import pytest
import torch
from organisms.toy import organism
from safetensors.torch import load_file

from spillover.models.loading import load, weights_sha256
from spillover.organisms import chunked_loss
from spillover.organisms.bfloat16_training import LoRAProduct
from spillover.organisms.chunked_loss import ChunkedLoss
from spillover.organisms.training_spec import adapter_folder
from spillover.store import Store


def test_the_adapters_product_has_the_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    rows = torch.randn(9, 12, requires_grad=True)
    down, up = torch.randn(4, 12, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    weights = torch.randn(9, 7)
    expected = torch.autograd.grad((weights * (0.5 * rows @ down.T @ up.T)).sum(), (rows, down, up))
    given = torch.autograd.grad((weights * LoRAProduct.apply(rows, down, up, 0.5)).sum(), (rows, down, up))
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    half = LoRAProduct.apply(rows.bfloat16(), down, up, 0.5)
    (of_down,) = torch.autograd.grad((weights * half).sum(), down)
    assert half.dtype == torch.bfloat16 and of_down.dtype == torch.float32
    assert 0 < (of_down - expected[1]).norm() < 0.02 * expected[1].norm()


@pytest.mark.parametrize("chunk", [1, 5, 128])
def test_the_loss_in_chunks_is_the_loss(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK", chunk)
    torch.manual_seed(0)
    head = torch.nn.Linear(6, 11).requires_grad_(False)
    hidden, target = torch.randn(13, 6, requires_grad=True), torch.randint(0, 11, (13,))
    weights = torch.rand(13)
    expected = torch.nn.functional.cross_entropy(head(hidden).tanh(), target, reduction="none")
    losses = ChunkedLoss.apply(hidden, target, lambda part: head(part).tanh())
    torch.testing.assert_close(losses, expected)
    gradients = [torch.autograd.grad((weights * each).sum(), hidden)[0] for each in (losses, expected)]
    torch.testing.assert_close(*gradients)


def test_bfloat16_trains_to_nearly_the_loss_of_float32_and_leaves_the_base(store: Store) -> None:
    """Adapters and optimiser are float32; the base has the same bits after, and the checkpoint another model's."""
    runs = [organism(precision=precision) for precision in ("float32", "bfloat16")]
    before = weights_sha256(load(runs[1].parent, store, "bfloat16").network)
    losses = []
    for run in runs:
        rows = run.value(store).losses.to_pylist() if store.get(run) else []
        losses.append([sum(row["loss"] for row in rows if row["step"] == step) for step in (0, run.steps)])
    (start, end), (start_half, end_half) = losses
    assert abs(start_half / start - 1) < 0.01 and abs(end_half / end - 1) < 0.03 and end < start - 0.01
    adapter = load_file(adapter_folder(store.path(runs[1]), runs[1].steps) / "adapter_model.safetensors")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    assert weights_sha256(load(runs[1].parent, store, "bfloat16").network) == before
    assert weights_sha256(load(runs[1].checkpoint(), store, "bfloat16").network) != before
