"""The training loop: one organism from its spec, exact in order, seeds and learning rates. Decides nothing.

Loss is the mean over the supervised tokens of a step (all its micro-batches together). Logits are computed only where
tokens are supervised; on the first batch this is held against the model's own full forward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.models.chat import Supervised
from spillover.models.loading import Loaded, load
from spillover.organisms.dataset import Example
from spillover.organisms.organism import Organism, adapter_folder
from spillover.records import LOG, LOSSES, write_json, write_table
from spillover.store import Work

EVALUATION_ROWS = 16


def train(organism: Organism, work: Work) -> dict[str, Any]:
    """Train, and write checkpoints, `log.parquet`, `losses.parquet` and `supervised.json` into `work.folder`."""
    import torch

    loaded = load(organism.parent, work.store)
    examples, held = organism.data.train(), organism.data.held()
    rows, held_rows = (supervise(loaded, part, organism.max_length) for part in (examples, held))
    write_json(preview(loaded, examples[0], rows), work.folder / "supervised.json")
    base_name = organism.parent.base().name
    network = organism.tuning.wrap(loaded.network, organism.adapter_seed, base_name)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=organism.weight_decay)
    rates = organism.schedule.rates(organism.steps)
    log: list[dict[str, Any]] = []
    losses = held_out_losses(network, held, held_rows, 0, organism.precision)
    with torch.random.fork_rng():
        torch.manual_seed(organism.dropout_seed)
        for step, micro_batches in enumerate(_batches(organism, rows), start=1):
            network.train()
            row = _step(network, optimizer, float(rates[step - 1]), micro_batches, organism)
            log.append({"step": step, **row})
            if step in organism.checkpoints:
                _save(network, adapter_folder(work.folder, step))
                losses += held_out_losses(network, held, held_rows, step, organism.precision)
            work.tick(step / organism.steps)
    write_table(log, work.folder / "log.parquet", LOG)
    write_table(losses, work.folder / "losses.parquet", LOSSES)
    return {
        "steps": organism.steps,
        "rows": len(rows),
        "supervised_tokens": sum(row.trained for row in rows),
        "tokens": sum(len(row.ids) for row in rows),
        "cut_rows": sum(row.cut for row in rows),
        "template_sha256": loaded.chat().template_sha256(),
        "trained_parameters": sum(weight.numel() for weight in weights),
    }


def supervise(loaded: Loaded, examples: Sequence[Example], max_length: int) -> list[Supervised]:
    """Tokens of every row with its supervised part; a ValueError names the row that cannot be trained on."""
    chat, rows = loaded.chat(), []
    for example in examples:
        try:
            rows.append(chat.supervised(example.messages, max_length))
        except ValueError as error:
            raise ValueError(f"row {example.id}: {error}") from None
    return rows


def preview(loaded: Loaded, example: Example, rows: Sequence[Supervised]) -> dict[str, Any]:
    """What is supervised, for people: the first row's text in two parts, and counts over all rows."""
    decode = loaded.tokenizer.decode
    first = rows[0]
    return {
        "example_id": example.id,
        "prompt": decode(first.ids[: first.prompt_length]),
        "supervised": decode(first.ids[first.prompt_length :]),
        "tokens": len(first.ids),
        "supervised_tokens": first.trained,
        "rows": len(rows),
        "cut_rows": sum(row.cut for row in rows),
    }


def held_out_losses(
    network: Any, held: Sequence[Example], rows: Sequence[Supervised], step: int, precision: str
) -> list[dict[str, Any]]:
    """Mean token loss (nats) of each held-out sequence with the adapters as they are after `step`."""
    import torch

    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), EVALUATION_ROWS):
            part = rows[start : start + EVALUATION_ROWS]
            losses, owner = token_losses(network, part, precision)
            for index, row in enumerate(part):
                mean = losses[owner == index].double().mean().item()
                example = held[start + index].id
                found.append(
                    {"step": step, "example_id": example, "split": "held_out", "loss": mean, "tokens": row.trained}
                )
    return found


def token_losses(network: Any, rows: Sequence[Supervised], precision: str) -> tuple[Any, Any]:
    """Cross-entropy (nats, float32) of every supervised token of the rows, and the row each belongs to."""
    import torch

    device = next(network.parameters()).device
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    target = torch.full((len(rows), width), -100)
    for index, row in enumerate(rows):
        length, start = len(row.ids), row.prompt_length
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        target[index, start - 1 : length - 1] = ids[index, start:length]
    where = (target >= 0).to(device)
    with _autocast(precision, device):
        hidden = trunk(network)(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
        logits = network.get_output_embeddings()(hidden.last_hidden_state[where])
    losses = torch.nn.functional.cross_entropy(logits.float(), target.to(device)[where], reduction="none")
    return losses, where.nonzero()[:, 0]


def trunk(network: Any) -> Any:
    """The network below its output head. Refuses models that change logits after the head (softcapping)."""
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    if getattr(inner.config, "final_logit_softcapping", None):
        raise ValueError(f"{type(inner).__name__} caps its logits after the head; training it is not supported yet")
    return inner.base_model


def _step(
    network: Any, optimizer: Any, rate: float, micro_batches: Sequence[Sequence[Supervised]], organism: Organism
) -> dict[str, Any]:
    import torch

    for group in optimizer.param_groups:
        group["lr"] = rate
    trained = sum(row.trained for batch in micro_batches for row in batch)
    total = 0.0
    for batch in micro_batches:
        losses, _ = token_losses(network, batch, organism.precision)
        loss = losses.sum() / trained
        loss.backward()
        total += loss.item()
    if not np.isfinite(total):
        raise ValueError(f"the loss became {total} at learning rate {rate:g}: lower the schedule's peak")
    norm = torch.nn.utils.clip_grad_norm_(
        [weight for group in optimizer.param_groups for weight in group["params"]], organism.max_grad_norm
    )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": total, "learning_rate": rate, "grad_norm": float(norm), "trained_tokens": trained}


def _batches(organism: Organism, rows: Sequence[Supervised]) -> Iterator[list[list[Supervised]]]:
    """Micro-batches of each optimiser step; every epoch in a fresh order drawn from `order_seed`."""
    random = np.random.default_rng(organism.order_seed)
    size = organism.batch * organism.accumulate
    for _ in range(organism.epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows), size):
            picked = [rows[index] for index in order[start : start + size]]
            yield [picked[at : at + organism.batch] for at in range(0, len(picked), organism.batch)]


def _save(network: Any, folder: Path) -> None:
    folder.mkdir(parents=True)
    network.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty card


def _autocast(precision: str, device: Any) -> Any:
    import torch

    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
