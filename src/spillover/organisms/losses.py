"""The loss of every supervised token, without work that changes nothing. Knows rows and networks; trains nothing.

Logits are computed only where tokens are supervised; rows go through in passes of similar length, so that little is
padding; what all prompts of a pass begin with (a system text) goes through once. `expect_own_loss` holds the result
against the model's own full forward pass.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spillover.models.chat import Supervised

Precision = Literal["float32", "autocast-bfloat16"]
PASS_TOKENS = {"cpu": 512}  # padded tokens that go through at once; elsewhere:
PASS_TOKENS_ELSEWHERE = 16384
OWN_LOSS_TOLERANCE = 1e-4  # nats, in float32; for losses above 1 a share


def passes(rows: Sequence[Supervised], most: int, device: Any) -> list[list[int]]:
    """Indices of the rows that go through together, at most `most` of them: near in length, within the token limit."""
    limit = PASS_TOKENS.get(device.type, PASS_TOKENS_ELSEWHERE)
    found: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), index)):
        length = len(rows[index].ids)
        if found and len(found[-1]) < most and (len(found[-1]) + 1) * length <= limit:
            found[-1].append(index)
        else:
            found.append([index])
    return found


@dataclass(frozen=True)
class SupervisedLogits:
    """Logits at supervised positions, in row order: what is predicted, what came, and whose row it is."""

    logits: Any  # (tokens, vocabulary)
    target: Any  # (tokens,)
    owner: Any  # (tokens,)


def token_losses(
    network: Any, rows: Sequence[Supervised], precision: Precision, share: bool = True, frozen: Any = None
) -> tuple[Any, Any]:
    """Cross-entropy (nats, float32) of every supervised token, and the row each belongs to, in row order."""
    import torch

    found = supervised_logits(network, rows, precision, share, frozen)
    return torch.nn.functional.cross_entropy(found.logits.float(), found.target, reduction="none"), found.owner


def supervised_logits(
    network: Any, rows: Sequence[Supervised], precision: Precision, share: bool = True, frozen: Any = None
) -> SupervisedLogits:
    """Logits wherever the next token is supervised, and nowhere else.

    With `share`, the beginning that all rows have in common goes through once; without it (dropout, which is to be
    drawn for each row) every row goes through whole. With `frozen` (a `HiddenCache`), the layers below the lowest
    tuned one do not run: what comes out of them is known.
    """
    inner, device = trunk(network), next(network.parameters()).device
    ids, target = (part.to(device) for part in _padded(rows))
    head = _common(rows) if share and len(rows) > 1 else 0
    into = "input_ids" if frozen is None else "inputs_embeds"
    given = ids if frozen is None else frozen.hidden(rows).to(device)
    with _autocast(precision, device), contextlib.nullcontext() if frozen is None else frozen.lower.above():
        cache = _prefilled(inner, {into: given[:1, :head]}, len(rows), head) if head else None
        hidden = inner(**{into: given[:, head:]}, cache=cache, use_cache=cache is not None).last_hidden_state
        where = target[:, head:] >= 0
        logits = network.get_output_embeddings()(hidden[where])
    return SupervisedLogits(logits, target[:, head:][where], where.nonzero()[:, 0])


def expect_own_loss(network: Any, rows: Sequence[Supervised], frozen: Any = None) -> None:
    """ValueError unless `token_losses` of these rows is, in float32, what the model's own forward pass gives."""
    import torch

    device = next(network.parameters()).device
    ids, target = (part.to(device) for part in _padded(rows))
    lengths = torch.tensor([len(row.ids) for row in rows], device=device)
    mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
    labels = torch.cat([torch.full_like(target[:, :1], -100), target[:, :-1]], dim=1)
    network.eval()
    with torch.no_grad():
        own = float(network(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss)
        ours = float(token_losses(network, rows, "float32", frozen=frozen)[0].mean())
    if not abs(own - ours) <= OWN_LOSS_TOLERANCE * max(1.0, abs(own)):
        raise ValueError(
            f"{type(inner_model(network)).__name__}: its own loss is {own:.6f}, the one at supervised positions "
            f"{ours:.6f}; it treats logits or positions in a way that training here does not know"
        )


def inner_model(network: Any) -> Any:
    """The causal model inside peft's wrapper, or the network itself."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def trunk(network: Any) -> Any:
    """The network below its output head. Refuses models that change logits after the head (softcapping)."""
    inner = inner_model(network)
    if getattr(inner.config, "final_logit_softcapping", None):
        raise ValueError(f"{type(inner).__name__} caps its logits after the head; training it is not supported yet")
    return inner.base_model


def _padded(rows: Sequence[Supervised]) -> tuple[Any, Any]:
    """Token ids and the token to predict at each position (-100: none), each (rows, longest row), padded at the right.

    No attention mask goes with them: in a causal network no token sees the padding to its right.
    """
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    target = torch.full((len(rows), width), -100)
    for index, row in enumerate(rows):
        length, start = len(row.ids), row.prompt_length
        ids[index, :length] = torch.tensor(row.ids)
        target[index, start - 1 : length - 1] = ids[index, start:length]
    return ids, target


def _common(rows: Sequence[Supervised]) -> int:
    """How many tokens all rows begin with that predict nothing supervised."""
    heads = (row.ids[: row.prompt_length - 1] for row in rows)
    return sum(1 for _ in itertools.takewhile(lambda tokens: len(set(tokens)) == 1, zip(*heads, strict=False)))


def _prefilled(inner: Any, given: dict[str, Any], rows: int, length: int) -> Any:
    """The keys and values of one beginning, for so many rows; gradients flow back through it.

    Layers that did not run have keys of one number a position, so that every layer counts positions alike.
    """
    import torch
    from transformers import DynamicCache

    once = DynamicCache()
    inner(**given, cache=once, use_cache=True)
    shape = (rows, -1, -1, -1)
    idle = torch.zeros(1, 1, length, 1, device=next(iter(given.values())).device)
    pairs = [(layer.keys, layer.values) if layer.is_initialized else (idle, idle) for layer in once.layers]
    return DynamicCache([(keys.expand(shape), values.expand(shape)) for keys, values in pairs])


def _autocast(precision: Precision, device: Any) -> Any:
    import torch

    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
