"""Loss along a straight line between two models: how high it rises above the line between its ends. Knows no model.

Barrier height: max over t in (0, 1) of L(t) - ((1 - t) L(0) + t L(1)) (Frankle et al. 2020). At or below 0 the two
ends lie in one basin as far as the line shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix, vector
from spillover.maths.bootstrap import DEFAULT, Resampling, resampling_counts
from spillover.maths.estimate import NAN, Estimate


@dataclass(frozen=True)
class Barrier:
    """height: with its interval, in the values' unit; p of a height not above 0. share: where on the line it is.

    excess: (points,) height of each point above the line between the ends, in the order given.
    """

    height: Estimate
    share: float
    excess: Floats


def barrier(
    share: ArrayLike, losses: ArrayLike, clusters: ArrayLike | None = None, how: Resampling = DEFAULT
) -> Barrier:
    """Barrier height along shares (points,) in [0, 1], both ends among them; losses (points, rows), one a held-out row.

    The same rows are resampled at every point, so what makes a row hard cancels. The largest of several noisy heights
    is too large by chance; the interval is the basic bootstrap's (2 estimate - quantiles), which takes that off again,
    and p is the share of draws, recentred to a line without any height, that rise as high. Clusters (rows,) are
    resampled whole. n counts rows.
    """
    t = vector("share", share)
    values = matrix("losses", losses, missing=True)
    if len(values) != len(t):
        raise ValueError(f"losses must have a row for each of {len(t)} points, got {len(values)}")
    if not (np.any(t == 0) and np.any(t == 1)) or len(t) < 3 or (t < 0).any() or (t > 1).any():
        raise ValueError(f"share must hold 0, 1 and a point between, got {t.tolist()}")
    values = values[:, ~np.isnan(values).any(axis=0)]
    n = values.shape[1]
    inner = np.flatnonzero((t > 0) & (t < 1))
    if n < 2:
        return Barrier(Estimate.missing(n, tested=True), NAN, np.full(len(t), NAN))
    ends = values[np.flatnonzero(t == 0)[0]], values[np.flatnonzero(t == 1)[0]]
    above = values - ((1 - t)[:, None] * ends[0] + t[:, None] * ends[1])  # (points, rows)
    excess = above.mean(axis=1)
    drawn = above[inner] @ _weights(n, clusters, how)  # (inner points, draws)
    estimate = float(excess[inner].max())
    heights = drawn.max(axis=0)
    tail = (1 - how.level) / 2
    low, high = 2 * estimate - np.quantile(heights, [1 - tail, tail])
    null = (drawn - excess[inner][:, None]).max(axis=0)
    p = float((1 + (null >= estimate - 1e-12).sum()) / (1 + how.draws))
    where = float(t[inner][int(np.argmax(excess[inner]))])
    return Barrier(Estimate(estimate, float(low), float(high), n, p), where, excess)


def _weights(n: int, clusters: ArrayLike | None, how: Resampling) -> Floats:
    """Share of each row in each draw: (rows, draws)."""
    code = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    picked = resampling_counts(int(code.max()) + 1, how.draws, how.seed)[:, code]
    return np.asarray((picked / picked.sum(axis=1, keepdims=True)).T)
