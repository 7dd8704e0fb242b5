"""Cross-entropy through a frozen output head, a few tokens at a time: the logits of a batch are never all there.

A token's loss depends on its own hidden state alone, so its gradient there is known as soon as its loss is, and the way
back only scales it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 128  # tokens whose logits are there at once


class ChunkedLoss(torch.autograd.Function):
    """hidden (tokens, d), target (tokens,) -> losses (tokens,), nats, float32; `head` makes logits of hidden states."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, target: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradients = torch.empty_like(hidden)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            leaf = hidden[part].detach().requires_grad_()
            with torch.enable_grad():
                logits = head(leaf)
            wide = logits.detach().to(torch.float32, copy=True)
            total = wide.logsumexp(1, keepdim=True)
            wanted = target[part, None]
            losses[part] = (total - wide.gather(1, wanted))[:, 0]
            of_logits = wide.sub_(total).exp_()  # the probabilities, less 1 for the token that came
            of_logits.scatter_add_(1, wanted, of_logits.new_full(wanted.shape, -1.0))
            (gradients[part],) = torch.autograd.grad(logits, leaf, of_logits.to(logits.dtype))
        ctx.save_for_backward(gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (of_hidden,) = ctx.saved_tensors
        (of_losses,) = gradients
        return of_hidden * of_losses[:, None].to(of_hidden.dtype), None, None
