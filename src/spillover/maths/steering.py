"""How well one vector added to each prompt's activation before training foretells the one after. Knows arrays alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spillover.maths.arrays import Floats, matrix, vector


@dataclass(frozen=True)
class ShiftFit:
    """explained: (prompts,) 1 - |after - (before + v)|^2 / |after - before|^2: 1 is the whole shift, 0 what adding
    nothing does, below 0 worse. cosine: (prompts,) of v with the prompt's own shift. Both NaN where a prompt does not
    shift. best: the multiple of v that explains most over all prompts together; whole: the share it explains.
    """

    explained: Floats
    cosine: Floats
    best: float
    whole: float


def foretold(before: Floats, after: Floats, direction: Floats) -> ShiftFit:
    """before, after (prompts, d); direction (d,), added as it is."""
    start, end = matrix("before", before), matrix("after", after)
    v = vector("direction", direction)
    if start.shape != end.shape or start.shape[1] != len(v):
        raise ValueError(f"before {start.shape}, after {end.shape} and a direction of {len(v)} do not go together")
    delta = end - start
    squares = (delta**2).sum(axis=1)
    along = delta @ v
    length = float(v @ v)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(squares > 0, (2 * along - length) / squares, np.nan)
        cosine = np.where((squares > 0) & (length > 0), along / np.sqrt(squares * length), np.nan)
    total = float(squares.sum())
    best = float(along.sum() / (len(delta) * length)) if length > 0 else float("nan")
    whole = float(along.sum() ** 2 / (len(delta) * length * total)) if length > 0 and total > 0 else float("nan")
    return ShiftFit(explained, cosine, best, whole)
