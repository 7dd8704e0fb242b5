"""Whether several rankings of the same things agree. Knows a matrix of values, not what is ranked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, matrix
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.estimate import NAN, Estimate


def concordance(values: ArrayLike, how: Resampling = DEFAULT) -> Estimate:
    """Kendall's W in [0, 1] of rankings (judges, things), ties given their mean rank; p by permuting each ranking.

    Things that are NaN in any ranking are left out; n counts those used. W with ties after Kendall and Gibbons
    (1990). No interval. NaN with fewer than 2 rankings or 3 things.
    """
    from scipy.stats import rankdata

    x = matrix("values", values, missing=True)
    x = x[:, ~np.isnan(x).any(axis=0)]
    judges, things = x.shape
    if judges < 2 or things < 3:
        return Estimate.missing(things, tested=True)
    ranks = np.asarray(rankdata(x, axis=1))
    ties = sum(float((count**3 - count).sum()) for count in (np.unique(row, return_counts=True)[1] for row in ranks))
    bottom = judges**2 * (things**3 - things) - judges * ties
    if bottom <= 0:
        return Estimate.missing(things, tested=True)
    w = _spread(ranks.sum(axis=0)) * 12 / bottom
    rng, drawn = how.rng(), np.zeros((how.draws, things))
    for row in ranks:
        drawn += rng.permuted(np.tile(row, (how.draws, 1)), axis=1)
    p = float((1 + (_spread(drawn) * 12 / bottom >= w - 1e-12).sum()) / (1 + how.draws))
    return Estimate(float(w), NAN, NAN, things, p)


def _spread(totals: Floats) -> Floats:
    return np.asarray(((totals - totals.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))
