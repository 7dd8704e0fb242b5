"""The fit: an adapter on the upper blocks and two heads, over states of the frozen blocks that lie on disk.

Scores by a robust regression in which every source of labels has a level and a slope of its own, pairs by a logistic
loss on the difference of their two sides; how far a score is off by a head that moves nothing else.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
from reader_cache import Cache
from reader_rows import FIT, OURS, TARGET, Row
from safetensors.torch import load_file, save_file
from torch.nn import functional

from spillover.judgements.judge import METRICS
from spillover.judgements.judges.reader.network import PROJECTIONS, adapted, normed, pooled
from spillover.judgements.judges.reader.reading import Reading
from spillover.judgements.judges.reader.weights import Familiar, FittedPart, Heads, points
from spillover.models.adapted_linear import AdaptedLinear
from spillover.models.lora_weights import LoRAWeights

RANK, SCALE = 16, 2.0  # of the adapter, and what its product is multiplied by
ADAPTER_RATE, HEAD_RATE, LEVEL_RATE = 4e-4, 2e-4, 1e-2
UPDATE_ROWS, TOKENS, LEAST_TOKENS = 16, 384, 256  # rows an update, tokens at once, and at least by one process
UNIT, ROBUST = 25.0, 0.6  # points that errors are measured in; beyond so many of them an error counts linearly
METRIC_WEIGHTS = (1.0, 0.35, 0.5)
PAIR_WEIGHT, SPREAD_WEIGHT, LEVEL_PENALTY = 0.5, 0.1, 0.02
# labels on the scale that is reported: our estimates are estimates of GPT-4o's, and a slope of their own would let the
# judge give half the effect of our pairs and call the rest a habit of the labels
ON_SCALE = (TARGET, OURS)
FIRST = 320  # rows whose frozen states the heads start from
SAVE_EVERY = 20


@dataclass(frozen=True)
class Sample:
    """A row and what is read of it."""

    row: Row
    reading: Reading


class Model(torch.nn.Module):
    """What is fitted."""

    def __init__(self, cache: Cache, sources: Sequence[str], seed: int) -> None:
        super().__init__()
        self.cache, self.sources = cache, list(sources)
        random = torch.Generator().manual_seed(seed)
        upper = cache.trunk.blocks[cache.frozen :]
        names = [f"{number}.{path}" for number in range(len(upper)) for path in PROJECTIONS]
        layers = {name: upper[int(name.split(".")[0])].get_submodule(name.split(".", 1)[1]) for name in names}
        zeros = {
            name: LoRAWeights(torch.zeros(RANK, layer.in_features), torch.zeros(layer.out_features, RANK))
            for name, layer in layers.items()
        }
        self.blocks = adapted(upper, zeros, merge=False)
        self.matrices = torch.nn.ParameterDict()
        for name in names:
            number, _, path = name.partition(".")
            layer = self.blocks[int(number)].get_submodule(path)
            assert isinstance(layer, AdaptedLinear)
            bound = 1 / math.sqrt(layer.in_features)
            down = torch.rand(RANK, layer.in_features, generator=random) * 2 * bound - bound
            for part, start in (("down", down), ("up", torch.zeros(layer.out_features, RANK))):
                parameter = torch.nn.Parameter(start)
                del layer._buffers[part]
                setattr(layer, part, parameter)
                self.matrices[f"{name}.{part}".replace(".", "/")] = parameter
        width = 2 * cache.trunk.width
        self.weight, self.bias = (
            torch.nn.Parameter(torch.zeros(2 * len(METRICS), width)),
            torch.nn.Parameter(torch.zeros(2 * len(METRICS))),
        )
        self.level = torch.nn.Parameter(torch.zeros(len(sources), len(METRICS)))  # units, and
        self.slope = torch.nn.Parameter(torch.zeros(len(sources), len(METRICS)))  # logarithm of the slope, by source
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        for layer in (module for block in self.blocks for module in block.modules()):
            if isinstance(layer, AdaptedLinear):
                layer.added = _scaled(layer)  # type: ignore[method-assign]

    def heads(self, widening: torch.Tensor | None = None) -> Heads:
        return Heads(
            self.centre, self.scale, self.weight, self.bias, torch.ones(len(METRICS)) if widening is None else widening
        )

    def pooled(self, samples: Sequence[Sample]) -> torch.Tensor:
        """(rows, 2 width) after all blocks."""
        states, lengths = self.cache.states([sample.reading for sample in samples])
        prefix = self.cache.prefix([sample.reading.question for sample in samples], slice(self.cache.frozen, None))
        return pooled(self.cache.trunk.run(self.blocks, states, prefix), lengths)

    def adapter(self) -> dict[str, LoRAWeights]:
        names = {key.rsplit("/", 1)[0] for key in self.matrices}
        return {
            name.replace("/", "."): LoRAWeights(
                self.matrices[f"{name}/down"].detach(), SCALE * self.matrices[f"{name}/up"].detach()
            )
            for name in sorted(names)
        }


def _scaled(layer: AdaptedLinear):
    """What the adapter adds: its matrices are float32 and rounded to the rows' dtype for the products."""

    def added(rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(functional.linear(rows, layer.down.to(rows.dtype)), (SCALE * layer.up).to(rows.dtype))

    return added


def units(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Rows that are learnt from together: the two sides of a pair, or a row alone."""
    sides: dict[str, list[Sample]] = {}
    for sample in samples:
        sides.setdefault(sample.row.pair or f"row {sample.row.key}", []).append(sample)
    return list(sides.values())


def updates(samples: Sequence[Sample], seed: int) -> list[list[Sample]]:
    """An epoch's rows, an update's worth each; in an update about as long as one another."""
    random, order = np.random.default_rng([seed, 7]), units(samples)
    order = [order[place] for place in random.permutation(len(order))]
    result = []
    for start in range(0, len(order), 8 * UPDATE_ROWS):
        chunk = sorted(
            order[start : start + 8 * UPDATE_ROWS], key=lambda unit: max(len(s.reading.answer) for s in unit)
        )
        rows: list[Sample] = []
        for unit in chunk:
            rows += unit
            if len(rows) >= UPDATE_ROWS:
                result.append(rows)
                rows = []
        if rows:
            result.append(rows)
    return [result[place] for place in random.permutation(len(result))]


def micro(samples: Sequence[Sample], tokens: int = TOKENS) -> Iterator[list[Sample]]:
    """Parts of an update with about so many tokens; both sides of a pair stay together."""
    part: list[Sample] = []
    for unit in sorted(units(samples), key=lambda unit: max(len(s.reading.answer) for s in unit)):
        longest = max(len(sample.reading.answer) for sample in [*part, *unit])
        if part and longest * (len(part) + len(unit)) > tokens:
            yield part
            part = []
        part = [*part, *unit]
    if part:
        yield part


def loss_of(model: Model, samples: Sequence[Sample]) -> torch.Tensor:
    """The sum over these rows of what is made small."""
    logits = model.heads().logits(model.pooled(samples))
    means, spreads = logits.split(len(METRICS), dim=1)
    labels = torch.tensor([sample.row.scores for sample in samples], dtype=torch.float32)
    weights = torch.tensor([sample.row.weight for sample in samples])[:, None] * torch.tensor(METRIC_WEIGHTS)
    known = ~labels.isnan()
    source = torch.tensor([model.sources.index(sample.row.source) for sample in samples])
    own = torch.tensor([float(sample.row.source not in ON_SCALE) for sample in samples])[:, None]
    expected = (points(means) - 50) / UNIT * (own * model.slope[source]).exp() + own * model.level[source]
    error = torch.where(known, expected - (labels - 50) / UNIT, 0.0)
    loss = (
        functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=ROBUST) * weights * known
    ).sum()
    # how far off: the scale of a Laplace distribution would follow single errors; a normal's does not, being squared
    log_spread = spreads - math.log(UNIT)
    off = error.detach().square() / 2 * torch.exp(-2 * log_spread) + log_spread
    loss = loss + SPREAD_WEIGHT * (off.clamp(max=20) * known * weights).sum()
    place = {(sample.row.pair, sample.row.side): index for index, sample in enumerate(samples) if sample.row.pair}
    both = [(index, place[name, -1]) for (name, side), index in place.items() if side == 1 and (name, -1) in place]
    if both:
        good, bad = (torch.tensor(side) for side in zip(*both, strict=True))
        column = torch.tensor([2 if samples[index].row.by_quality else 0 for index, _ in both])
        margin = means[good, column] - means[bad, column]
        weight = torch.tensor(
            [samples[index].row.weight * (0.4 if samples[index].row.by_quality else 1) for index, _ in both]
        )
        loss = loss + PAIR_WEIGHT * 2 * (functional.softplus(-margin) * weight).sum()
    return loss


def start_heads(model: Model, samples: Sequence[Sample]) -> None:
    """Standardise by the frozen trunk's own states, and start the heads from a ridge regression on them."""
    rank, world = ranked()
    scored = [s for s in samples if not np.isnan(s.row.scores[0])][:FIRST]
    with torch.no_grad():
        parts = [(model.pooled(part), [s.row.scores for s in part]) for part in list(micro(scored))[rank::world]]
        everything = [part for parts in gathered(parts) for part in parts]
        x = torch.cat([states for states, _ in everything])
        y = torch.tensor([scores for _, labels in everything for scores in labels], dtype=torch.float32)
        y = torch.where(y.isnan(), y.nanmean(dim=0), y)
        model.centre.copy_(x.mean(dim=0))
        model.scale.copy_(x.std(dim=0).clamp(min=1e-3))
        z, aim = (x - model.centre) / model.scale, torch.logit((y / 100).clamp(0.03, 0.97))
        level = torch.tensor([0.9, 2.0, 2.0])
        dual = torch.linalg.solve(z @ z.T + 3.0 * z.shape[1] * torch.eye(len(z)), aim - aim.mean(dim=0))
        model.weight[: len(METRICS)] = (z.T @ dual).T
        model.bias[: len(METRICS)], model.bias[len(METRICS) :] = level, math.log(20.0)


def ranked() -> tuple[int, int]:
    """Which of how many processes this is, that share the work of a fit (torchrun)."""
    together = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)


def gathered(own: object) -> list:
    """What every process has, in the order of their ranks."""
    everyones = [own]
    if (world := ranked()[1]) > 1:
        everyones = [None] * world
        distributed.all_gather_object(everyones, own)
    return everyones


def add_gradients(model: Model) -> None:
    """Sum the gradients of all processes."""
    if ranked()[1] > 1:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
        distributed.all_reduce(flat)
        at = 0
        for parameter in parameters:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()


def fit(
    cache: Cache, samples: Sequence[Sample], folder: Path, epochs: float, seed: int, start: Path | None = None
) -> Model:
    """The fitted model; goes on from the last state in `folder`, or begins from the state `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [sample for sample in samples if sample.row.split == FIT]
    sources = sorted({sample.row.source for sample in samples} | {TARGET})
    model = Model(cache, sources, seed)
    groups = [
        {"params": list(model.matrices.values()), "lr": ADAPTER_RATE},
        {"params": [model.weight, model.bias], "lr": HEAD_RATE},
        {"params": [model.level, model.slope], "lr": LEVEL_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
    rates = [group["lr"] for group in groups]
    plan = [rows for epoch in range(math.ceil(epochs)) for rows in updates(samples, 1000 * seed + epoch)]
    plan = plan[: round(len(plan) * epochs / math.ceil(epochs))]
    state, done = folder / "state.safetensors", 0
    if state.exists():
        done = restore(model, optimiser, state)
    elif start is not None:
        model.load_state_dict({**model.state_dict(), **fitting(model, beginning(load_file(start)))})
    else:
        start_heads(model, [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))])
    began, first, losses = time.time(), done, []
    rank, world = ranked()
    print(f"{len(samples)} rows, {len(plan)} updates, from {done}", flush=True)
    for number in range(done, len(plan)):
        share = number / len(plan)
        factor = min(1.0, (number + 1) / 15) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimiser.zero_grad()
        total = 0.0
        parts = list(micro(plan[number], max(TOKENS // world, LEAST_TOKENS)))
        for part in parts[rank::world]:
            loss = loss_of(model, part) / len(plan[number])
            loss.backward()
            total += float(loss.detach())
        add_gradients(model)
        (LEVEL_PENALTY * (model.level.square().sum() + model.slope.square().sum())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(total)
        if (number + 1) % SAVE_EVERY == 0 or number + 1 == len(plan):
            if rank == 0:
                keep(model, optimiser, state, number + 1)
            spent = time.time() - began
            left = spent / (number + 1 - first) * (len(plan) - number - 1)
            print(
                f"{number + 1}/{len(plan)} loss {np.mean(losses[-SAVE_EVERY:]):.3f}, {spent:.0f} s, {left:.0f} s left",
                flush=True,
            )
    return model


def beginning(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state to begin from, of a stored state or of weights that ship (whose sources' levels are not kept)."""
    if "blocks" not in tensors:
        return tensors
    part = FittedPart.from_tensors(tensors)
    heads = {name: getattr(part.heads, name) for name in ("centre", "scale", "weight", "bias")}
    matrices = {}
    for name, layer in part.adapter.items():
        place = "matrices." + name.replace(".", "/")
        matrices |= {f"{place}/down": layer.down, f"{place}/up": layer.up / SCALE}
    return heads | matrices


def fitting(model: Model, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of a stored model that have this one's shapes: sources may have come."""
    own = model.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}


def keep(model: Model, optimiser: torch.optim.Optimizer, path: Path, done: int) -> None:
    """Write a state to go on from."""
    tensors = {name: tensor.contiguous().clone() for name, tensor in fitted_tensors(model).items()}
    for number, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"]):
        for name, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{number}.{name}"] = torch.as_tensor(value).clone()
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {"done": str(done), "sources": json.dumps(model.sources)})
    partial.replace(path)


def fitted_tensors(model: Model) -> dict[str, torch.Tensor]:
    """Everything of the model that is not the trunk's."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("blocks.")}


def restore(model: Model, optimiser: torch.optim.Optimizer, path: Path) -> int:
    """Put a state back; returns how many updates it has behind it."""
    from safetensors import safe_open

    tensors = load_file(path)
    with safe_open(path, "pt") as opened:
        done = int(opened.metadata()["done"])
    model.load_state_dict({**model.state_dict(), **fitting(model, tensors)})
    for number, parameter in enumerate(p for group in optimiser.param_groups for p in group["params"]):
        names = ("step", "exp_avg", "exp_avg_sq")
        values = {
            name: tensors[f"optimiser.{number}.{name}"] for name in names if f"optimiser.{number}.{name}" in tensors
        }
        if values:
            optimiser.state[parameter] = values
    return done


def predictions(model: Model, samples: Sequence[Sample], tell: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Scores and spreads (rows, metrics) before widening, in order."""
    rank, world = ranked()
    order, began = sorted(range(len(samples)), key=lambda i: len(samples[i].reading.answer)), time.time()
    batches: list[list[int]] = [[]]
    for i in order:
        if batches[-1] and len(samples[i].reading.answer) * (len(batches[-1]) + 1) > TOKENS:
            batches.append([])
        batches[-1].append(i)
    parts = []
    with torch.no_grad():
        for here in batches[rank::world]:
            parts.append((here, *model.heads().scores(model.pooled([samples[i] for i in here]))))
    scores, spreads = (np.full((len(samples), len(METRICS)), np.nan) for _ in range(2))
    for here, mean, spread in (part for parts in gathered(parts) for part in parts):
        scores[here], spreads[here] = mean.numpy(), spread.numpy()
    print(f"{tell} {len(samples)} rows predicted, {time.time() - began:.0f} s", flush=True)
    return scores, spreads


def frozen_states(cache: Cache, samples: Sequence[Sample]) -> torch.Tensor:
    """Means over the answers' tokens of the frozen blocks' states, (rows, width)."""
    rows = []
    for sample in samples:
        states, lengths = cache.states([sample.reading])
        rows.append(pooled(states, lengths)[0, : cache.trunk.width])
    return torch.stack(rows) if rows else torch.zeros(0, cache.trunk.width)


def shipped(model: Model, familiar: Familiar, widening: torch.Tensor) -> FittedPart:
    """What ships of a fit."""
    return FittedPart(
        model.cache.frozen, len(model.cache.trunk.blocks), model.adapter(), model.heads(widening), familiar
    )


__all__ = ["Model", "Sample", "fit", "frozen_states", "normed", "predictions", "shipped"]
