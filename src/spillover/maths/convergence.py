"""Onset against convergence: when a run has learnt its task, when harm first shows, and what lies between.

Looking at every checkpoint until one of them shows something finds something by chance. The onset here is the first
step whose EM rate lies above the base's by more than the largest of all steps would by chance: one-sided max-T over
steps (Westfall and Young 1993), whole families of questions changing sides at all steps at once, which keeps that
checkpoints of one run and questions of one family go together. Of 2,000 simulated runs of 8 checkpoints at which
nothing changed (40 families of one question, 4 answers; EM rates of 2 to 12%) 4.7 to 4.8% saw one; a look at each step
alone sees one in 7 to 16%. The comparison itself: arXiv 2605.12199, as docs/method.md states it; test and intervals are
ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, Labels, codes, matrix, quotient, totals, vector
from spillover.maths.bootstrap import resampling_weights
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.multiplicity import max_t


@dataclass(frozen=True, eq=False)
class Departure:
    """The first step at which something lies above where it started.

    index: of that step; -1 where no step does at `level`. p: (steps,) for each step, corrected over all of them.
    change: (steps,) mean difference. n: questions used.
    """

    index: int
    p: Floats
    change: Floats
    n: int


def first_departure(changes: ArrayLike, families: Labels | None = None, resampling: Resampling = DEFAULT) -> Departure:
    """The first step whose mean change over questions is above 0, corrected for looking at every step.

    changes: (steps, questions), each question's value at the step less its value before training; a question that lacks
    one at some step is left out. families: (questions,) labels. p is one-sided and single-step (the least p of any step
    decides whether there is an onset), so that under no change at any step an onset is called in 5% at most.
    """
    values = matrix("changes", changes, missing=True)
    keep = np.asarray(~np.isnan(values).any(axis=0))
    values, n = values[:, keep], int(keep.sum())
    if n == 0:
        none = np.full(len(values), NAN)
        return Departure(-1, none, none, 0)
    labels = np.arange(len(keep)) if families is None else np.asarray(families)
    code, names = codes("families", labels[keep], n)
    sums = np.array([totals(row, code, len(names)) for row in values])  # (steps, families)
    scale = np.sqrt((sums**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.where(scale[:, None] > 0, sums / scale[:, None], 0.0)
    signs = resampling.rng().choice([-1.0, 1.0], size=(resampling.draws, len(names)))
    p = max_t(unit.sum(axis=1), signs @ unit.T, two_sided=False, step_down=False)
    p = np.where(scale > 0, p, 1.0)
    change = values.mean(axis=1)
    called = np.flatnonzero((p <= 1 - resampling.level + 1e-12) & (change > 0))
    return Departure(int(called[0]) if len(called) else -1, p, change, n)


@dataclass(frozen=True, eq=False)
class Gain:
    """How much of its whole gain a run has made by each step.

    total: last value less first. converged: the step at which `share` of it is made for the first time, linear between
    steps; early by chance where the values are noisy. made: (steps,) share of the gain by each step, with percentile
    ends over families; NaN where the whole gain is 0. n counts questions.
    """

    total: Estimate
    converged: Estimate
    made: tuple[Estimate, ...]


def gain_over_steps(
    steps: ArrayLike,
    values: ArrayLike,
    families: Labels | None = None,
    share: float = 0.95,
    resampling: Resampling = DEFAULT,
) -> Gain:
    """From rising steps (steps,), the first of them before training, and values (steps, questions), NaN where unscored.

    A question that lacks a value at some step is left out; families are resampled whole, the same ones at every step.
    Draws in which the whole gain has the other sign than observed are counted as having made none of it.
    """
    x = vector("steps", steps)
    table = matrix("values", values, missing=True)
    if len(table) != len(x) or len(x) < 2 or (np.diff(x) <= 0).any():
        raise ValueError(f"values need a row for each of at least 2 rising steps, got {x.tolist()}")
    if not 0 < share <= 1:
        raise ValueError(f"share lies in (0, 1], got {share}")
    keep = np.asarray(~np.isnan(table).any(axis=0))
    table, n = table[:, keep], int(keep.sum())
    if n == 0:
        none = Estimate.missing()
        return Gain(none, none, (none,) * len(x))
    labels = np.arange(len(keep)) if families is None else np.asarray(families)
    code, names = codes("families", labels[keep], n)
    mean = table.mean(axis=1, keepdims=True)
    few = len(names) < 2
    drawn = mean if few else table @ resampling_weights(code, resampling)
    sign = np.sign(mean[-1] - mean[0])[0]
    made, made_drawn = (_made(side, sign) for side in (mean, drawn))
    whole = drawn[-1] - drawn[0]
    total = _interval(float((mean[-1] - mean[0])[0]), whole, n, resampling, few)
    converged = _interval(float(_reached(x, made, share)[0]), _reached(x, made_drawn, share), n, resampling, few)
    shares = tuple(_interval(float(made[step, 0]), made_drawn[step], n, resampling, few) for step in range(len(x)))
    return Gain(total, converged, shares)


def _made(values: Floats, sign: float) -> Floats:
    """Share of the whole gain by each step, (steps, columns); 0 in columns whose gain has the other sign."""
    whole = values[-1] - values[0]
    shares = quotient((values - values[0]) * sign, np.broadcast_to(whole * sign, values.shape))
    return np.where(whole * sign < 0, 0.0, shares)


def _reached(x: Floats, made: Floats, share: float) -> Floats:
    """First crossing of `share`, linear between steps: (columns,); NaN where it is not reached."""
    crossings = np.full(made.shape[1], NAN)
    for step in range(len(x) - 1, 0, -1):
        with np.errstate(invalid="ignore"):
            crosses = (made[step] >= share) & (made[step - 1] < share)
        part = quotient(share - made[step - 1], made[step] - made[step - 1])
        crossings = np.where(crosses, x[step - 1] + part * (x[step] - x[step - 1]), crossings)
    return crossings


def _interval(value: float, drawn: Floats, n: int, resampling: Resampling, few: bool) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if few or len(drawn) == 0 or not np.isfinite(value):
        return Estimate(value, NAN, NAN, n)
    low, high = np.quantile(drawn, resampling.tails)
    return Estimate(value, float(low), float(high), n)
