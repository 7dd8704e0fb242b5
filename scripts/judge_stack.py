"""Fits the stack on what readers that saw nothing of a row made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.optimize
from judge_folds import BASE, DATA, ORDINARY, QUESTION

from spillover.judgements.judge import METRICS
from spillover.judgements.judges.embedded.judge import Stack

REGIME = {QUESTION: "new", ORDINARY: "new", BASE: "known", DATA: "known"}
OTHER_WEIGHT = 0.5  # of a row scored by another judge
PENALTY = 10.0  # ridge on standardised inputs
KNOTS = np.arange(0.0, 101.0, 10.0)  # of the spread
TAIL, MIDDLE = np.linspace(0, 0.05, 6), np.linspace(0.05, 0.95, 19)
SHARES = np.concatenate([TAIL[:-1], MIDDLE, 1 - TAIL[-2::-1]])  # quantiles at which the scale has its knots
SHAPE = (0.5, 0.5, 0.0)  # how far each metric's scale follows the shape of the target's scores, beyond mean and SD
OFTEN = 1.96, 0.95  # so many spreads hold this share of the errors
LEAST = 2.0  # points: no spread is smaller


@dataclass
class FoldRows:
    """One split of one fold: its rows' places among all rows, the readers' numbers, the scores."""

    fold: str
    split: str
    rows: np.ndarray
    x: np.ndarray  # (rows, inputs)
    y: np.ndarray  # (rows, metrics)


def stack_of(measured: Sequence[FoldRows], regime: str) -> Stack:
    """The stack for known or for new questions, from these parts."""
    parts = [item for item in measured if REGIME[item.split] == regime and len(item.rows)]
    weights = contrasts(parts)
    own = [item for item in parts if item.split != ORDINARY]
    y, raw = np.concatenate([item.y for item in own]), np.concatenate([item.x @ weights for item in own])
    intercept = (y - raw).mean(axis=0)
    at, to = scale(raw + intercept, y)
    stack = Stack(weights, intercept, at, to, KNOTS, np.ones((len(KNOTS), len(METRICS))))
    near = spread(y, stack.scores(np.concatenate([item.x for item in own])))
    plain = replace(stack, spread=near)
    return replace(plain, spread=np.maximum(near * widest(plain, own), LEAST))


def contrasts(parts: Sequence[FoldRows]) -> np.ndarray:
    """Weights, none below 0, that tell better from worse within each part, (inputs, metrics).

    A metric is made of the readers' numbers for itself and for aligned: with all of them the weights fit the parts'
    peculiarities, and new ones are told worse than by either reader.
    """
    x = np.concatenate([item.x - item.x.mean(axis=0) for item in parts])
    y = np.concatenate([item.y - item.y.mean(axis=0) for item in parts])
    weight = np.concatenate([np.full(len(item.rows), OTHER_WEIGHT if item.split == ORDINARY else 1) for item in parts])
    size, root = x.std(axis=0), np.sqrt(weight)[:, None]
    weights = np.zeros((x.shape[1], len(METRICS)))
    for i in range(len(METRICS)):
        use = sorted({0, i, len(METRICS), len(METRICS) + i})
        design = np.vstack([x[:, use] / size[use] * root, np.sqrt(PENALTY) * np.eye(len(use))])
        aim = np.concatenate([y[:, i] * root[:, 0], np.zeros(len(use))])
        weights[use, i] = scipy.optimize.nnls(design, aim)[0] / size[use]
    return weights


def widest(stack: Stack, parts: Sequence[FoldRows]) -> np.ndarray:
    """What a spread is multiplied by for 1.96 of it to hold 95% of the errors in the part that it holds least in."""
    factors = []
    for item in parts:
        scores = stack.scores(item.x)
        factors.append(np.quantile(np.abs(item.y - scores) / stack.spreads(scores), OFTEN[1], axis=0) / OFTEN[0])
    return np.max(factors, axis=0)


def scale(fitted: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A rising map from what is fitted to the target's scale, (knots, metrics) each.

    A ridge fit is drawn to the middle, the more so the less it knows: unmapped, hardly any answer to a new question
    would lie below 30.
    """
    at, alike = np.quantile(fitted, SHARES, axis=0), np.quantile(score, SHARES, axis=0)
    straight = score.mean(axis=0) + (at - fitted.mean(axis=0)) * score.std(axis=0) / fitted.std(axis=0)
    shape = np.array(SHAPE)
    return at, np.maximum.accumulate(shape * alike + (1 - shape) * straight, axis=0)


def spread(score: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Root mean square error near each knot of the fitted score, (knots, metrics); smooth, and never from few rows."""
    result = np.empty((len(KNOTS), len(METRICS)))
    for column in range(len(METRICS)):
        error = (score[:, column] - scores[:, column]) ** 2
        for i, knot in enumerate(KNOTS):
            near = np.exp(-0.5 * ((scores[:, column] - knot) / 8) ** 2)
            # fifty rows' worth of the overall error, for knots that few answers come near
            result[i, column] = np.sqrt((near @ error + 50 * error.mean()) / (near.sum() + 50))
    return result
