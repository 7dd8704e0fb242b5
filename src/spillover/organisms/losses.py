"""The loss of every supervised token, without work that changes nothing.

Logits are computed only where tokens are supervised; rows go through in passes of similar length, so that little is
padding; what all prompts of a pass begin with (a system text) goes through once. `expect_own_loss` holds the result
against the model's own full forward pass.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from pydantic import Field

from spillover.models.base import Model
from spillover.models.chat import Supervised
from spillover.models.precision import Precision
from spillover.organisms.dataset import Example, TrainingData, supervise
from spillover.organisms.own_head import can_share_beginnings, head_logits, inner_model, trunk
from spillover.records import LOSSES, write_table
from spillover.store import Artefact, BuildContext, Cost

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import DynamicCache, PreTrainedModel

PASS_TOKENS = {"cpu": 512}  # padded tokens that go through at once; elsewhere:
PASS_TOKENS_ELSEWHERE = 16384
PASS_ROWS = 16  # rows that go through at once where nothing is trained; changes speed, and losses by rounding
OWN_LOSS_TOLERANCE = {"torch.float32": 1e-4, "torch.float16": 5e-3, "torch.bfloat16": 2e-2}  # nats; above 1 a share


class LowerHidden(Protocol):
    """What comes out of the layers below those that are tuned, known beforehand (`hidden_cache.HiddenCache`)."""

    def hidden(self, rows: Sequence[Supervised]) -> Tensor:
        """What goes into the lowest tuned layer, (rows, longest row, d_model), zeros at the right."""

    def upper_layers_alone(self) -> AbstractContextManager[None]:
        """For a while, the network begins at the lowest tuned layer and takes that as its embeddings."""


def passes(rows: Sequence[Supervised], most: int, device: torch.device, tokens: int | None = None) -> list[list[int]]:
    """Indices of the rows that go through together, at most `most` of them: near in length, within the token limit."""
    limit = min(PASS_TOKENS.get(device.type, PASS_TOKENS_ELSEWHERE), tokens or PASS_TOKENS_ELSEWHERE)
    parts: list[list[int]] = []
    for index in sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), index)):
        length = len(rows[index].ids)
        if parts and len(parts[-1]) < most and (len(parts[-1]) + 1) * length <= limit:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


@dataclass(frozen=True)
class SupervisedLogits:
    """Logits at supervised positions, in row order: what is predicted, what came, and whose row it is."""

    logits: Tensor  # (tokens, vocabulary)
    target: Tensor  # (tokens,), the token that came
    owner: Tensor  # (tokens,), the index of its row


def token_losses(
    network: PreTrainedModel,
    rows: Sequence[Supervised],
    precision: Precision,
    share: bool = True,
    hidden_cache: LowerHidden | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy (nats, float32) of every supervised token, and the index of its row: (tokens,) each, by row."""
    import torch

    head = network.get_output_embeddings()
    if torch.is_grad_enabled() and head is not None and not any(weight.requires_grad for weight in head.parameters()):
        from spillover.organisms.chunked_loss import ChunkedLoss

        def logits(hidden: Tensor) -> Tensor:
            with _autocast(precision, hidden.device):
                return head_logits(network, hidden)

        hidden, target, owner = _supervised_hidden(network, rows, precision, share, hidden_cache)
        losses: Tensor = ChunkedLoss.apply(hidden, target, logits)
        return losses, owner
    predicted = supervised_logits(network, rows, precision, share, hidden_cache)
    losses = torch.nn.functional.cross_entropy(predicted.logits.float(), predicted.target, reduction="none")
    return losses, predicted.owner


def supervised_logits(
    network: PreTrainedModel,
    rows: Sequence[Supervised],
    precision: Precision,
    share: bool = True,
    hidden_cache: LowerHidden | None = None,
) -> SupervisedLogits:
    """Logits wherever the next token is supervised, and nowhere else.

    With `share`, the beginning that all rows have in common goes through once; without it (dropout, which is to be
    drawn for each row) every row goes through whole. With `hidden_cache`, the layers below the lowest tuned one do not
    run: what comes out of them is known.
    """
    hidden, target, owner = _supervised_hidden(network, rows, precision, share, hidden_cache)
    with _autocast(precision, hidden.device):
        return SupervisedLogits(head_logits(network, hidden), target, owner)


def _supervised_hidden(
    network: PreTrainedModel,
    rows: Sequence[Supervised],
    precision: Precision,
    share: bool,
    hidden_cache: LowerHidden | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What goes into the head wherever the next token is supervised, (tokens, d); that token; whose row it is."""
    inner, device = trunk(network), next(network.parameters()).device
    ids, target = (part.to(device) for part in _padded(rows))
    head = _common(rows) if share and len(rows) > 1 and can_share_beginnings(network) else 0
    name = "input_ids" if hidden_cache is None else "inputs_embeds"
    inputs = ids if hidden_cache is None else hidden_cache.hidden(rows).to(device)
    layers = contextlib.nullcontext() if hidden_cache is None else hidden_cache.upper_layers_alone()
    with _autocast(precision, device), layers:
        cache = _prefilled(inner, {name: inputs[:1, :head]}, len(rows), head) if head else None
        after = {"use_cache": False} if cache is None else {"cache": cache, "use_cache": True}
        hidden = inner(**{name: inputs[:, head:]}, **after).last_hidden_state
        where = target[:, head:] >= 0
    return hidden[where], target[:, head:][where], where.nonzero()[:, 0]


def sequence_losses(
    network: PreTrainedModel,
    rows: Sequence[Supervised],
    precision: Precision,
    hidden_cache: LowerHidden | None = None,
) -> np.ndarray:
    """Mean token loss (nats) of each row: (rows,) float64. The network is to be in evaluation mode."""
    import torch

    device = next(network.parameters()).device
    means = np.full(len(rows), np.nan)
    with torch.no_grad():
        for part in passes(rows, PASS_ROWS, device):
            some = [rows[index] for index in part]
            losses, owner = token_losses(network, some, precision, hidden_cache=hidden_cache)
            for place, index in enumerate(part):
                means[index] = losses[owner == place].double().mean().item()
    return means


def loss_rows(
    step: int, split: str, examples: Sequence[Example], rows: Sequence[Supervised], means: np.ndarray
) -> list[dict[str, object]]:
    """The losses of some rows as lines of a `losses.parquet`."""
    return [
        {"step": step, "example_id": example.id, "split": split, "loss": float(mean), "tokens": row.trained}
        for example, row, mean in zip(examples, rows, means, strict=True)
    ]


class HeldOutLosses(Artefact):
    """The mean token loss (nats) of each held-out row of a split, for a model as it is."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    data: TrainingData
    max_length: int = Field(default=512, ge=8)
    precision: Precision = "float32"

    def summary(self) -> str:
        return f"Loss of {self.model.label()} on {self.data.held_out} held-out rows of {self.data.label()}"

    def cost(self) -> Cost:
        return Cost(units=self.data.held_out * self.model.relative_size, seconds_per_unit=0.3)

    def make(self, context: BuildContext) -> dict[str, object]:
        from spillover.models.loading import load

        loaded = load(self.model, context.store, self.precision)
        examples = self.data.held_out_rows(context.store)
        rows = supervise(loaded, examples, self.max_length)
        means = sequence_losses(loaded.network, rows, self.precision)
        labels = {name: value for name, value in self.model.labels().items() if name != "step"}
        losses = loss_rows(0, "held_out", examples, rows, means)
        write_table(losses, context.folder / "losses.parquet", LOSSES, labels)
        return {"rows": len(rows), "loss": float(means.mean())}


def expect_own_loss(
    network: PreTrainedModel, rows: Sequence[Supervised], hidden_cache: LowerHidden | None = None
) -> None:
    """ValueError unless `token_losses` of these rows is what the model's own forward pass gives."""
    own, ours = _two_losses(network, rows, hidden_cache)
    if not _near(network, own, ours):
        raise ValueError(
            f"{type(inner_model(network)).__name__}: its own loss is {own:.6f}, the one at supervised positions "
            f"{ours:.6f}; it treats logits or positions in a way that training here does not know"
        )


def gives_own_loss(network: PreTrainedModel, rows: Sequence[Supervised], hidden_cache: LowerHidden) -> bool:
    """Whether what is known of the lower layers makes no difference to the loss of these rows."""
    return _near(network, *_two_losses(network, rows, hidden_cache))


def _near(network: PreTrainedModel, own: float, ours: float) -> bool:
    """Within what rounding does to a loss in the weights' dtype."""
    tolerance = OWN_LOSS_TOLERANCE.get(str(network.dtype), max(OWN_LOSS_TOLERANCE.values()))
    return abs(own - ours) <= tolerance * max(1.0, abs(own))


def _two_losses(
    network: PreTrainedModel, rows: Sequence[Supervised], hidden_cache: LowerHidden | None
) -> tuple[float, float]:
    """The mean token loss by the model's own forward pass, and by `token_losses`."""
    import torch

    device = next(network.parameters()).device
    ids, target = (part.to(device) for part in _padded(rows))
    lengths = torch.tensor([len(row.ids) for row in rows], device=device)
    mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
    labels = torch.cat([torch.full_like(target[:, :1], -100), target[:, :-1]], dim=1)
    network.eval()
    with torch.no_grad():
        own = float(network(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss)
        ours = float(token_losses(network, rows, "float32", hidden_cache=hidden_cache)[0].mean())
    return own, ours


def _padded(rows: Sequence[Supervised]) -> tuple[Tensor, Tensor]:
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


def _prefilled(inner: nn.Module, inputs: Mapping[str, Tensor], rows: int, length: int) -> DynamicCache:
    """The keys and values of one beginning, for so many rows; gradients flow back through it.

    Layers that did not run have keys of one number a position, so that every layer counts positions alike.
    """
    import torch
    from transformers import DynamicCache

    once = DynamicCache()
    inner(**inputs, cache=once, use_cache=True)
    shape = (rows, -1, -1, -1)
    idle = torch.zeros(1, 1, length, 1, device=next(iter(inputs.values())).device)
    pairs = [(layer.keys, layer.values) if layer.is_initialized else (idle, idle) for layer in once.layers]
    return DynamicCache([(keys.expand(shape), values.expand(shape)) for keys, values in pairs])


def _autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    import torch

    if precision != "autocast-bfloat16":
        return contextlib.nullcontext()
    autocast: AbstractContextManager[None] = torch.autocast(device.type, dtype=torch.bfloat16)
    return autocast
