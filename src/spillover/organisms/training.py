"""The training loop: one organism from its spec, exact in order, seeds and learning rates. Decides nothing.

The loss of a step is the mean over its supervised tokens, however the step is divided into passes. Before the first
step it is held against the model's own full forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.models.chat import Supervised
from spillover.models.loading import Loaded, load
from spillover.organisms.adapter_card import adapter_card
from spillover.organisms.dataset import Example
from spillover.organisms.losses import expect_own_loss, passes, token_losses
from spillover.organisms.organism import Organism, adapter_folder
from spillover.records import LOG, LOSSES, write_json, write_table
from spillover.store import Work

EVALUATION_ROWS = 16


def train(organism: Organism, work: Work) -> dict[str, Any]:
    """Train, and write checkpoints, `log.parquet`, `losses.parquet` and `supervised.json` into `work.folder`."""
    import torch

    rates = _rates(organism)
    loaded = load(organism.parent, work.store)
    examples, held = organism.data.train(), organism.data.held()
    rows, held_rows = (supervise(loaded, part, organism.max_length) for part in (examples, held))
    write_json(preview(loaded, examples[0], rows), work.folder / "supervised.json")
    network = organism.tuning.wrap(loaded.network, organism.adapter_seed, organism.parent.base().name)
    expect_own_loss(network, sorted(rows, key=lambda row: len(row.ids))[:2])
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=organism.weight_decay)
    parents = [folder.relative_to(work.store.root).as_posix() for folder in organism.parent.adapters(work.store)]
    log: list[dict[str, Any]] = []
    losses = held_out_losses(network, held, held_rows, 0, organism)
    with torch.random.fork_rng():
        torch.manual_seed(organism.dropout_seed)
        for step, picked in enumerate(_steps(organism, rows), start=1):
            network.train()
            row = _step(network, optimizer, float(rates[step - 1]), picked, organism)
            log.append({"step": step, **row})
            if step in organism.checkpoints:
                losses += held_out_losses(network, held, held_rows, step, organism)
                _save(network, adapter_folder(work.folder, step), adapter_card(organism, step, parents))
            work.tick(step / organism.steps)
    write_table(log, work.folder / "log.parquet", LOG)
    write_table(losses, work.folder / "losses.parquet", LOSSES)
    prompts = {example.prompt for example in examples}
    return {
        "steps": organism.steps,
        "rows": len(rows),
        "supervised_tokens": sum(row.trained for row in rows),
        "tokens": sum(len(row.ids) for row in rows),
        "cut_rows": sum(row.cut for row in rows),
        "held_out_prompts_also_trained": sum(example.prompt in prompts for example in held),
        "template_sha256": loaded.chat().template_sha256(),
        "trained_parameters": sum(weight.numel() for weight in weights),
    }


def supervise(loaded: Loaded, examples: Sequence[Example], max_length: int) -> list[Supervised]:
    """Tokens of every row with its supervised part; a ValueError names the row that cannot be trained on."""
    chat, rows = loaded.chat(), []
    for example in examples:
        try:
            row = chat.supervised(example.messages, max_length)
        except ValueError as error:
            raise ValueError(f"row {example.id}: {error}") from None
        if row.trained < 1 or row.prompt_length < 1:
            raise ValueError(f"row {example.id}: nothing of it is supervised, its answer has no token of its own")
        rows.append(row)
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
    network: Any, held: Sequence[Example], rows: Sequence[Supervised], step: int, organism: Organism
) -> list[dict[str, Any]]:
    """Mean token loss (nats) of each held-out sequence, in order, with the adapters as they are after `step`."""
    import torch

    network.eval()
    device = next(network.parameters()).device
    means = np.full(len(rows), np.nan)
    with torch.no_grad():
        for part in passes(rows, EVALUATION_ROWS, device):
            losses, owner = token_losses(network, [rows[index] for index in part], organism.precision)
            for place, index in enumerate(part):
                means[index] = losses[owner == place].double().mean().item()
    if not np.isfinite(means).all():
        raise ValueError(f"the held-out loss after step {step} is not a number: lower the schedule's peak")
    return [
        {"step": step, "example_id": example.id, "split": "held_out", "loss": float(mean), "tokens": row.trained}
        for example, row, mean in zip(held, rows, means, strict=True)
    ]


def _rates(organism: Organism) -> np.ndarray:
    rates = organism.schedule.rates(organism.steps)
    if not rates.any():
        raise ValueError(
            f"{organism.schedule.label()} has a learning rate of 0 at every step of a run of {organism.steps}: "
            f"lower its warmup, or train on more rows"
        )
    return rates


def _step(network: Any, optimizer: Any, rate: float, rows: Sequence[Supervised], organism: Organism) -> dict[str, Any]:
    import torch

    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = rate
    trained = sum(row.trained for row in rows)
    total = 0.0
    for part in passes(rows, organism.batch, weights[0].device):
        share = organism.tuning.dropout == 0
        losses, _ = token_losses(network, [rows[index] for index in part], organism.precision, share)
        loss = losses.sum() / trained
        loss.backward()
        total += loss.item()
    norm = float(torch.nn.utils.clip_grad_norm_(weights, organism.max_grad_norm))
    if not np.isfinite([total, norm]).all():
        raise ValueError(
            f"the loss became {total:g} with a gradient of norm {norm:g} at learning rate {rate:g}: "
            f"lower the schedule's peak"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": total, "learning_rate": rate, "grad_norm": norm, "trained_tokens": trained}


def _steps(organism: Organism, rows: Sequence[Supervised]) -> Iterator[list[Supervised]]:
    """The rows of each optimiser step; every epoch in a fresh order drawn from `order_seed`, its last step short."""
    random = np.random.default_rng(organism.order_seed)
    size = organism.batch * organism.accumulate
    for _ in range(organism.epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows), size):
            yield [rows[index] for index in order[start : start + size]]


def _save(network: Any, folder: Path, card: str) -> None:
    folder.mkdir(parents=True)
    network.save_pretrained(folder, save_embedding_layers=False)  # "auto" would look on the hub for the base
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])  # a set: its order is another in every process
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(card)
