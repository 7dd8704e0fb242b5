"""The training loop: one organism from its spec, exact in order, seeds and learning rates. Decides nothing.

The loss of a step is the mean over its supervised tokens, however the step is divided into passes. Before the first
step it is held against the model's own full forward pass. A training that was killed goes on from the state that
`unfinished` kept, to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from spillover.models.chat import Supervised
from spillover.organisms.adapter_card import adapter_card
from spillover.organisms.held_out import loss_rows, sequence_losses
from spillover.organisms.hidden_cache import frozen_below
from spillover.organisms.intervention import ActiveIntervention, TrainingRun
from spillover.organisms.losses import expect_own_loss, passes, token_losses
from spillover.organisms.organism import Organism, adapter_folder
from spillover.organisms.preflight import PreparedRows, prepare, supervise
from spillover.organisms.process_group import ProcessGroup
from spillover.organisms.resume import ResumeState, TrainingState
from spillover.organisms.shared_prefix import SharedPrefixes
from spillover.provenance import versions
from spillover.records import LOG, LOSSES, MEASURED, write_json, write_table
from spillover.store import BuildContext

__all__ = ["supervise", "train"]


def train(organism: Organism, context: BuildContext) -> dict[str, Any]:
    """Train, and write checkpoints, `log.parquet`, `losses.parquet` and `supervised.json` into `context.folder`."""
    import torch

    rates, team = _rates(organism), ProcessGroup()
    team.begin(organism, context.store)
    loaded = organism.tuning.load_parent(organism.parent, context.store)
    rows = prepare(organism, loaded)
    write_json(rows.shown(), context.folder / "supervised.json")
    context.log(rows.text())
    rows.warn()
    network = organism.tuning.trainable_network(loaded.network, organism.adapter_seed, organism.parent.base().name)
    frozen = frozen_below(organism, network, rows.everything(), context)
    expect_own_loss(network, sorted(rows.train, key=lambda row: len(row.ids))[:2], frozen)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=organism.weight_decay)
    run = TrainingRun(organism, loaded, network, frozen, team)
    actives = [intervention.begin(run) for intervention in organism.interventions]
    with torch.random.fork_rng():
        torch.manual_seed(organism.dropout_seed)
        state = _loop(run, rows, optimizer, rates, actives, context)
    write_table(state.log, context.folder / "log.parquet", LOG)
    write_table(state.losses, context.folder / "losses.parquet", LOSSES)
    if organism.interventions:
        write_table(state.beside, context.folder / "interventions.parquet", MEASURED)
    return {
        "steps": organism.steps,
        **rows.facts(),
        "template_sha256": loaded.chat().template_sha256(),
        "trained_parameters": sum(weight.numel() for weight in weights),
        "processes": team.size,
        **state.resumed,
    }


def _loop(
    run: TrainingRun,
    rows: PreparedRows,
    optimizer: Any,
    rates: np.ndarray,
    actives: Sequence[ActiveIntervention],
    context: BuildContext,
) -> TrainingState:
    """All steps that are not done yet, from the last kept state on."""
    organism, network, team = run.organism, run.network, run.team
    parents = [folder.relative_to(context.store.root).as_posix() for folder in organism.parent.adapters(context.store)]
    made_from = {"libraries": versions(), "needs": context.store.digests(organism), "device": str(run.loaded.device)}
    made_from |= {"processes": team.size} if team.size > 1 else {}
    kept = ResumeState(context.store.unfinished(organism), made_from)
    forks = SharedPrefixes(organism, context.upcoming, context.store, made_from)
    state = kept.restore(network, optimizer, context.folder)
    team.wait()  # before a state that another process reads can be written over
    team.seed(organism.dropout_seed, state.step)
    if state.step == 0:
        state.losses = held_out_losses(run, rows, 0) if team.first else []
    else:
        begun = f", begun by training {kept.origin[:8]}" if kept.origin else ""
        context.log(f"goes on after step {state.step} of {organism.steps}{begun}")
        state.resumed = {"resumed_share": state.step / organism.steps, "begun_by": kept.origin or None}
    for step, picked in enumerate(_steps(organism, rows.train), start=1):
        if step <= state.step:
            continue
        network.train()
        row, beside = _step(run, optimizer, (step, float(rates[step - 1])), picked, actives)
        state.step = step
        if not team.first:  # the first alone looks and writes
            continue
        state.log.append({"step": step, **row})
        state.beside += [{"step": step, "name": name, "value": value} for name, value in beside.items()]
        if step in organism.saved_steps:
            state.losses += held_out_losses(run, rows, step)
            card = adapter_card(organism, step, parents)
            organism.tuning.save(network, adapter_folder(context.folder, step), card)
        context.progress(step / organism.steps)
        forks.keep(state, network, optimizer, context.folder, parents)
        if step < organism.steps and kept.due():
            kept.keep(state, network, optimizer, context.folder)
    return state


def held_out_losses(run: TrainingRun, rows: PreparedRows, step: int) -> list[dict[str, Any]]:
    """Mean token loss (nats) of each held-out sequence, in order, with the weights as they are after `step`."""
    found = []
    run.network.eval()
    for split, (examples, held) in rows.held.items():
        means = sequence_losses(run.network, held, run.organism.precision, run.frozen)
        if not np.isfinite(means).all():
            raise ValueError(f"the held-out loss after step {step} is not a number: lower the schedule's peak")
        found += loss_rows(step, split, examples, held, means)
    return found


def _rates(organism: Organism) -> np.ndarray:
    rates = organism.schedule.rates(organism.steps)
    if not rates.any():
        raise ValueError(
            f"{organism.schedule.label()} has a learning rate of 0 at every step of a run of {organism.steps}: "
            f"lower its warmup, or train on more rows"
        )
    return rates


def _step(
    run: TrainingRun,
    optimizer: Any,
    at: tuple[int, float],
    rows: Sequence[Supervised],
    actives: Sequence[ActiveIntervention],
) -> tuple[dict[str, Any], dict[str, float]]:
    """One optimiser step `at` (its number, its learning rate): its row of the log, and what interventions measured."""
    import torch

    organism, (step, rate) = run.organism, at
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = rate
    added = [row for active in actives for row in active.rows(step)]
    losses = _backward(run, [*rows, *added], len(rows))
    beside: dict[str, float] = {}
    for active in actives if run.team.first else ():
        beside |= active.backward(step)
    narrow, mixed = run.team.together(weights, losses)
    total = (narrow + mixed) / sum(row.trained for row in (*rows, *added))
    beside |= _parts(narrow, mixed, rows, added)
    norm = float(torch.nn.utils.clip_grad_norm_(weights, organism.max_grad_norm))
    if not np.isfinite([total, norm]).all():
        raise ValueError(
            f"the loss became {total:g} with a gradient of norm {norm:g} at learning rate {rate:g}: "
            f"lower the schedule's peak"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    trained = sum(row.trained for row in (*rows, *added))
    return {"loss": total, "learning_rate": rate, "grad_norm": norm, "trained_tokens": trained}, beside


def _backward(run: TrainingRun, rows: Sequence[Supervised], narrow: int) -> tuple[float, float]:
    """Add the gradient of the mean token loss of all rows, of which this process takes its share.

    The first `narrow` rows are the narrow set's; returned are the sums of their token losses and of the others'.
    """
    organism, trained = run.organism, sum(row.trained for row in rows)
    mine, sums = run.team.mine(len(rows)), np.zeros(2)
    share = not organism.tuning.has_dropout
    for part in passes([rows[index] for index in mine], organism.batch, run.loaded.device):
        picked = [mine[place] for place in part]
        losses, owner = token_losses(
            run.network, [rows[index] for index in picked], organism.precision, share, run.frozen
        )
        (losses.sum() / trained).backward()
        values, added = losses.detach().double().cpu().numpy(), np.array(picked)[owner.cpu().numpy()] >= narrow
        sums += values[~added].sum(), values[added].sum()
    return float(sums[0]), float(sums[1])


def _parts(narrow: float, mixed: float, rows: Sequence[Supervised], added: Sequence[Supervised]) -> dict[str, float]:
    """The mean token loss of the narrow rows and of those mixed in, where any were."""
    if not added:
        return {}
    return {
        "narrow_loss": narrow / sum(row.trained for row in rows),
        "mixed_loss": mixed / sum(row.trained for row in added),
        "mixed_rows": float(len(added)),
    }


def _steps(organism: Organism, rows: Sequence[Supervised]) -> Iterator[list[Supervised]]:
    """The rows of each optimiser step; every epoch in a fresh order drawn from `order_seed`, its last step short."""
    random = np.random.default_rng(organism.order_seed)
    size = organism.batch * organism.accumulate
    for _ in range(organism.epochs):
        order = random.permutation(len(rows))
        for start in range(0, len(rows), size):
            yield [rows[index] for index in order[start : start + size]]
