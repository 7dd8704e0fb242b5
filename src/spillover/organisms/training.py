"""The training loop: one organism from its spec, exact in order, seeds and learning rates.

The loss of a step is the mean over its supervised tokens, however the step is divided into passes. Before the first
step it is held against the model's own full forward pass. A training that was stopped goes on from the state that
`resume` kept, to the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spillover.models.base import Model
from spillover.models.chat import Supervised
from spillover.organisms.hidden_cache import hidden_cache_below
from spillover.organisms.losses import expect_own_loss, gives_own_loss, loss_rows, passes, sequence_losses, token_losses
from spillover.organisms.process_group import ProcessGroup
from spillover.organisms.resume import ResumeState, SharedPrefixes, TrainingState
from spillover.organisms.training_spec import (
    ActiveIntervention,
    PreparedRows,
    TrainingRun,
    TrainingSpec,
    adapter_folder,
)
from spillover.provenance import versions
from spillover.records import LOG, LOSSES, MEASURED, write_json, write_table
from spillover.store import BuildContext, Store

if TYPE_CHECKING:
    from torch.optim import Optimizer


def train(organism: TrainingSpec, context: BuildContext) -> dict[str, object]:
    """Train, and write checkpoints, `log.parquet`, `losses.parquet` and `supervised.json` into `context.folder`."""
    import torch

    from spillover.organisms.bfloat16_training import train_in_bfloat16

    rates, process_group = _rates(organism), ProcessGroup()
    process_group.begin(organism, context.store)
    loaded = organism.tuning.load_parent(organism.parent, context.store, organism.precision)
    rows = organism.prepare(loaded, context.store)
    write_json(rows.shown(), context.folder / "supervised.json")
    context.log(rows.text(organism))
    fitted = [text for text in (organism.data.fitted, organism.fitted) if text]
    if fitted:
        context.log(f"fitted to the size of the data: {'; '.join(fitted)}")
    rows.warn(organism)
    base = organism.parent.base().name
    tuned = organism.tuning.tuned(loaded.network)
    network = organism.tuning.trainable_network(loaded.network, organism.adapter_seed, base)
    if organism.precision == "bfloat16":
        train_in_bfloat16(network)
    shortest = sorted(rows.train, key=lambda row: len(row.ids))[:2]
    hidden_cache = hidden_cache_below(organism, network, rows.everything(), context)
    if hidden_cache is not None and not gives_own_loss(network, shortest, hidden_cache):
        hidden_cache = None  # a network that does more with embeddings than to hand them to its first layer
    expect_own_loss(network, shortest, hidden_cache)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=organism.weight_decay)
    run = TrainingRun(organism, loaded, network, hidden_cache, process_group, context.store)
    interventions = [intervention.begin(run) for intervention in organism.interventions]
    with torch.random.fork_rng():
        torch.manual_seed(organism.dropout_seed)
        state = _loop(run, rows, optimizer, rates, interventions, context)
    write_table(state.log, context.folder / "log.parquet", LOG, organism.labels())
    write_table(state.losses, context.folder / "losses.parquet", LOSSES, organism.labels())
    if organism.interventions:
        write_table(state.measured, context.folder / "interventions.parquet", MEASURED, organism.labels())
    return {
        "steps": organism.steps,
        **rows.facts(),
        **loaded.chat().facts(),
        "tuned": tuned,
        "trained_parameters": sum(weight.numel() for weight in weights),
        "processes": process_group.size,
        **({"fitted": fitted} if fitted else {}),
        **state.resumed,
    }


def parent_names(parent: Model, store: Store) -> list[str]:
    """The folders that make the parent of its base, in order: within the store, or by their own name outside it."""
    return [
        folder.relative_to(store.root).as_posix() if folder.is_relative_to(store.root) else folder.name
        for folder in parent.adapters(store)
    ]


def _rates(organism: TrainingSpec) -> np.ndarray:
    """The learning rate of each step, (steps,); ValueError where all are 0."""
    rates = organism.schedule.rates(organism.steps)
    if not rates.any():
        raise ValueError(
            f"{organism.schedule.label()} has a learning rate of 0 at every step of a run of {organism.steps}: "
            f"lower its warmup, or train on more rows"
        )
    peak, fitting = organism.schedule.peak, organism.schedule.fit_steps(organism.steps)
    if rates.max() < 0.99 * peak and fitting != organism.schedule:
        warnings.warn(
            f"{organism.schedule.label()} never reaches its peak of {peak:g}: the largest learning rate of the "
            f"{organism.steps} steps is {rates.max():.2g}. `organism.fit_schedule()` shortens its warm-up",
            stacklevel=2,
        )
    return rates


def _loop(
    run: TrainingRun,
    rows: PreparedRows,
    optimizer: Optimizer,
    rates: np.ndarray,
    interventions: Sequence[ActiveIntervention],
    context: BuildContext,
) -> TrainingState:
    """All steps that are not done yet, from the last kept state on."""
    organism, network, process_group = run.organism, run.network, run.process_group
    parents = parent_names(organism.parent, context.store)
    made_from = _made_from(run, context)
    resume_state = ResumeState(context.store.unfinished(organism), made_from)
    shared_prefixes = SharedPrefixes(organism, context.upcoming, context.store, made_from)
    state = resume_state.restore(network, optimizer, context.folder)
    process_group.wait()  # before a state that another process reads can be written over
    process_group.seed(organism.dropout_seed, state.step)
    if state.step == 0:
        state.losses = held_out_losses(run, rows, 0) if process_group.first else []
    else:
        origin = resume_state.origin
        begun = f", begun by training {origin[:8]}" if origin else ""
        context.log(f"goes on after step {state.step} of {organism.steps}{begun}")
        state.resumed = {"resumed_share": state.step / organism.steps, "begun_by": origin or None}
    for step, step_rows in enumerate(_steps(organism, rows.train), start=1):
        if step <= state.step:
            continue
        network.train()
        logged, measured = _step(run, optimizer, step, float(rates[step - 1]), step_rows, interventions)
        state.step = step
        if not process_group.first:  # the first alone looks and writes
            continue
        state.log.append({"step": step, **logged})
        state.measured += [{"step": step, "name": name, "value": value} for name, value in measured.items()]
        if step in organism.saved_steps:
            state.losses += held_out_losses(run, rows, step)
            card = organism.checkpoint_card(step, parents)
            organism.tuning.save(network, adapter_folder(context.folder, step), card)
        context.progress(step / organism.steps)
        shared_prefixes.keep(state, network, optimizer, context.folder, parents)
        if step < organism.steps and resume_state.due():
            saved = sorted((context.folder / "checkpoints").glob("*"))
            resume_state.keep(state, network, optimizer, dict.fromkeys(saved))
    return state


def _made_from(run: TrainingRun, context: BuildContext) -> dict[str, object]:
    """What has to be alike for a training to go on from a kept state."""
    made_from: dict[str, object] = {
        "libraries": versions(),
        "needs": context.store.digests(run.organism),
        "device": str(run.loaded.device),
    }
    return made_from | ({"processes": run.process_group.size} if run.process_group.size > 1 else {})


def held_out_losses(run: TrainingRun, rows: PreparedRows, step: int) -> list[dict[str, object]]:
    """Mean token loss (nats) of each held-out sequence, in order, with the weights as they are after `step`."""
    losses = []
    run.network.eval()
    for split, (examples, held_out) in rows.held_out.items():
        means = sequence_losses(run.network, held_out, run.organism.precision, run.hidden_cache)
        if not np.isfinite(means).all():
            raise ValueError(f"the held-out loss after step {step} is not a number: lower the schedule's peak")
        losses += loss_rows(step, split, examples, held_out, means)
    return losses


def _step(
    run: TrainingRun,
    optimizer: Optimizer,
    step: int,
    rate: float,
    rows: Sequence[Supervised],
    interventions: Sequence[ActiveIntervention],
) -> tuple[dict[str, float], dict[str, float]]:
    """One optimiser step, its number from 1: its row of the log, and what interventions measured."""
    import torch

    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = rate
    added = [row for intervention in interventions for row in intervention.rows(step)]
    losses = _backward(run, [*rows, *added], len(rows))
    measured: dict[str, float] = {}
    for intervention in interventions if run.process_group.first else ():
        measured |= intervention.backward(step)
    narrow, mixed = run.process_group.all_reduce(weights, losses)
    tokens, added_tokens = (sum(row.trained for row in some) for some in (rows, added))
    loss = (narrow + mixed) / (tokens + added_tokens)
    if added:
        measured |= {
            "narrow_loss": narrow / tokens,
            "mixed_loss": mixed / added_tokens,
            "mixed_rows": float(len(added)),
        }
    norm = float(torch.nn.utils.clip_grad_norm_(weights, run.organism.max_grad_norm))
    if not np.isfinite([loss, norm]).all():
        raise ValueError(
            f"the loss became {loss:g} with a gradient of norm {norm:g} at learning rate {rate:g}: "
            f"lower the schedule's peak"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    logged = {"loss": loss, "learning_rate": rate, "grad_norm": norm, "trained_tokens": tokens + added_tokens}
    return logged, measured


def _backward(run: TrainingRun, rows: Sequence[Supervised], narrow: int) -> tuple[float, float]:
    """Add the gradient of the mean token loss of all rows, of which this process takes its share.

    The first `narrow` rows are the narrow set's; returned are the sums of their token losses and of the others'.
    """
    organism, tokens = run.organism, sum(row.trained for row in rows)
    local, sums = run.process_group.local_indices(len(rows)), np.zeros(2)
    share = not organism.tuning.has_dropout
    for part in passes([rows[index] for index in local], organism.batch, run.loaded.device, run.pass_tokens):
        indices = [local[place] for place in part]
        some = [rows[index] for index in indices]
        losses, owner = token_losses(run.network, some, organism.precision, share, run.hidden_cache)
        (losses.sum() / tokens).backward()
        values, added = losses.detach().double().cpu().numpy(), np.array(indices)[owner.cpu().numpy()] >= narrow
        sums += values[~added].sum(), values[added].sum()
    return float(sums[0]), float(sums[1])


def _steps(organism: TrainingSpec, rows: Sequence[Supervised]) -> Iterator[list[Supervised]]:
    """The rows of each optimiser step; every epoch in a fresh order drawn from `order_seed`, its last step short."""
    random = np.random.default_rng(organism.order_seed)
    size = organism.batch * organism.accumulate
    for _ in range(organism.epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows), size):
            yield [rows[index] for index in order[start : start + size]]
