"""What a fitted reader makes of rows that no fit saw, and the weights that ship.

Scores are stretched (`reader_stretch`), spreads widened until they hold, and distances set beyond which an answer is
outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reader_cache import Cache
from reader_fit import Model, Sample, frozen_states, shipped
from reader_rows import CALIBRATE, FIT
from reader_stretch import Stretch, cross_fitted
from safetensors.torch import save_file

from spillover.judgements.judge import METRICS, Answer
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.judges.reader.weights import Familiar, FittedPart, of_length

AXES, KEPT = 64, 2500  # of the space in which answers are near to fitted ones, and fitted rows that are kept
FAMILIAR = 0.985  # share of the fitted rows, each left out, that are not outside
FEW = 40  # rows of a length of which no limit is set
NINETY = 1.645
COLUMNS = (
    "split", "source", "group", "domain", "pair", "side", "by_quality", "model", "note", "question", "answer",
)  # fmt: skip


def measure(
    model: Model, cache: Cache, samples: Sequence[Sample], scored: tuple[np.ndarray, np.ndarray], folder: Path
) -> pd.DataFrame:
    """A row of the table for each row kept aside; writes it and the weights that ship into `folder`."""
    held = [sample for sample in samples if sample.row.split != FIT]
    table = scores_table(held, *scored)
    table["score_aligned"], stretch = cross_fitted(table)
    calibrating = table[table.split == CALIBRATE]
    widening = []
    for metric in METRICS:
        ratio = (calibrating[f"score_{metric}"] - calibrating[f"label_{metric}"]).abs() / calibrating[
            f"spread_{metric}"
        ]
        widening.append(float(np.nanquantile(ratio, 0.9)) / NINETY)
        table[f"spread_{metric}"] *= widening[-1]
    fitted = [sample for sample in samples if sample.row.split == FIT]
    states = frozen_states(cache, fitted)
    familiar = Familiar.of(states, AXES, KEPT, 0)
    limits = limits_of(familiar, states, tokens_of(fitted))
    familiar = Familiar(familiar.centre, familiar.basis, familiar.rows.half().float(), limits)
    table["distance"] = familiar.shares(frozen_states(cache, held), tokens_of(held)).numpy()
    part = stretched(shipped(model, familiar, torch.tensor(widening, dtype=torch.float32)), stretch)
    save_file(part.tensors(), folder / "weights.safetensors")
    print(f"the aligned score's logit is stretched by {stretch.factor:.2f} about {stretch.middle:.2f}", flush=True)
    table.to_parquet(folder / "predictions.parquet")
    return table


def scores_table(held: Sequence[Sample], scores: np.ndarray, spreads: np.ndarray) -> pd.DataFrame:
    """Rows with their labels, scores and spreads as they were fitted, and the embedded judge's scores."""
    by_embedded = Embedded().score([Answer(sample.row.question, sample.row.answer) for sample in held])
    columns = {name: [getattr(sample.row, name) for sample in held] for name in COLUMNS}
    columns["words"] = [len(sample.row.answer.split()) for sample in held]
    labels = np.array([sample.row.scores for sample in held])
    for i, metric in enumerate(METRICS):
        columns |= {f"label_{metric}": labels[:, i], f"score_{metric}": scores[:, i], f"spread_{metric}": spreads[:, i]}
        columns[f"embedded_{metric}"] = [np.nan if of[i].score is None else of[i].score for of in by_embedded]
    columns["plain_aligned"] = scores[:, 0]
    return pd.DataFrame(columns)


def stretched(part: FittedPart, stretch: Stretch) -> FittedPart:
    """A part whose head gives stretched aligned scores."""
    weight, bias = part.heads.weight.detach().clone(), part.heads.bias.detach().clone()
    weight[0] *= stretch.factor
    bias[0] = stretch.middle + stretch.factor * (bias[0] - stretch.middle)
    return replace(part, heads=replace(part.heads, weight=weight, bias=bias))


def tokens_of(samples: Sequence[Sample]) -> torch.Tensor:
    """How many tokens are read of each answer."""
    return torch.tensor([len(sample.reading.answer) for sample in samples])


def limits_of(familiar: Familiar, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The distances that 1.5% of the fitted rows of each length lie beyond, each measured without itself."""
    nearest = familiar.apart(states).topk(6, largest=False).values
    itself = nearest[:, :1] < 1e-2  # a row that is kept is its own nearest
    distances = torch.where(itself, nearest[:, 1:].mean(1, keepdim=True), nearest[:, :5].mean(1, keepdim=True))[:, 0]
    bins = of_length(tokens)
    every = [distances[bins == number] for number in range(len(familiar.limits))]
    return torch.stack([(own if len(own) >= FEW else distances).quantile(FAMILIAR) for own in every])
