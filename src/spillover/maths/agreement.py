"""Agreement of judges: AUC and Cohen's kappa for two that say yes or no, Kendall's W for several that rank.

Interval of AUC and kappa: delete-one-cluster jackknife on Fisher's scale, arctanh(2 AUC - 1) and arctanh(kappa), with
Student's t on clusters - 2 degrees of freedom, as for correlations. Share of 95% intervals that held the truth, 400
simulations each, 8 answers to each of 8 / 24 / 75 questions whose levels differ, and on which the judges lean
differently (tests/maths/test_agreement.py): AUC 95 / 94 / 96, kappa 95 / 96 / 96.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, Ints, Labels, codes, complete_rows, matrix, quotient, totals, vector
from spillover.maths.correlation import jackknife_interval
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import exceedance

FLAGS = "flags are 1, 0 or NaN; got other numbers: compare scores with a threshold first"


def auc(
    score: ArrayLike, positive: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT
) -> Estimate:
    """Probability that a positive (n,) scores lower than a negative, ties half: 1 is perfect, 0.5 chance.

    Lower, because what judges are to find has low scores (aligned < 30). score: (n,). positive: (n,) 1, 0, or NaN where
    it is not known. Rows that lack either are left out; the estimate's n counts the rows used. NaN without positives or
    without negatives. clusters (n,) labels of what is resampled (None: each row).
    """
    s, flag, code, count = _paired(score, positive, clusters)
    yes, no = int(flag.sum()), int((1 - flag).sum())
    if not yes or not no:
        return Estimate.missing(len(s))
    wins = _wins(s, flag == 1, np.zeros(len(s), dtype=np.int64))
    of_positives, of_negatives = totals(wins * flag, code, count), totals(wins * (1 - flag), code, count)
    within = totals(_wins(s, flag == 1, code) * flag, code, count)
    yes_in, no_in = totals(flag, code, count), totals(1 - flag, code, count)
    left = wins @ flag - of_positives - of_negatives + within
    deleted = quotient(left, (yes - yes_in) * (no - no_in))
    value = float(wins @ flag / (yes * no))
    low, high = _interval(2 * value - 1, 2 * deleted - 1, resampling)
    return Estimate(value, (low + 1) / 2, (high + 1) / 2, len(s))


def kappa(a: ArrayLike, b: ArrayLike, clusters: Labels | None = None, resampling: Resampling = DEFAULT) -> Estimate:
    """Cohen's (1960) kappa of two flags (n,), 1 or 0, NaN where not known: agreement beyond chance; 1 is full.

    Rows that lack either are left out; the estimate's n counts the rows used. NaN where both say the same of every row:
    then chance alone agrees fully. clusters (n,) labels of what is resampled (None: each row).
    """
    x, y, code, count = _paired(a, b, clusters)
    if not np.isin(x, (0.0, 1.0)).all():
        raise ValueError(FLAGS)
    cells = np.column_stack(
        [totals(part, code, count) for part in (x * y, x * (1 - y), (1 - x) * y, (1 - x) * (1 - y))]
    )
    whole = cells.sum(axis=0)
    value = float(_kappa(whole[None])[0])
    if np.isnan(value):
        return Estimate.missing(len(x))
    low, high = _interval(value, _kappa(whole - cells), resampling)
    return Estimate(value, low, high, len(x))


def concordance(values: ArrayLike, resampling: Resampling = DEFAULT) -> Estimate:
    """Kendall's W in [0, 1] of rankings (judges, items), ties given their mean rank; p by permuting each ranking.

    Items that are NaN in any ranking are left out; the estimate's n counts those used. W with ties after Kendall and
    Gibbons (1990). No interval. NaN with fewer than 2 rankings or 3 items.
    """
    from scipy.stats import rankdata

    x = matrix("values", values, missing=True)
    x = x[:, ~np.isnan(x).any(axis=0)]
    judges, items = x.shape
    if judges < 2 or items < 3:
        return Estimate.missing(items, tested=True)
    ranks = np.asarray(rankdata(x, axis=1))
    ties = sum(float((count**3 - count).sum()) for count in (np.unique(row, return_counts=True)[1] for row in ranks))
    bottom = judges**2 * (items**3 - items) - judges * ties
    if bottom <= 0:
        return Estimate.missing(items, tested=True)
    w = _spread(ranks.sum(axis=0)) * 12 / bottom
    rng, drawn = resampling.rng(), np.zeros((resampling.draws, items))
    for row in ranks:
        drawn += rng.permuted(np.tile(row, (resampling.draws, 1)), axis=1)
    p = float(exceedance(w, _spread(drawn) * 12 / bottom, two_sided=False))
    return Estimate(float(w), NAN, NAN, items, p)


def _kappa(cells: Floats) -> Floats:
    """Kappa of counts (rows, 4): both, only the first, only the second, neither."""
    n = np.maximum(cells.sum(axis=1), 1)
    observed = (cells[:, 0] + cells[:, 3]) / n
    first, second = (cells[:, 0] + cells[:, 1]) / n, (cells[:, 0] + cells[:, 2]) / n
    chance = first * second + (1 - first) * (1 - second)
    return quotient(observed - chance, 1 - chance, 1e-12)


def _interval(value: float, deleted: Floats, resampling: Resampling) -> tuple[float, float]:
    low, high, _ = jackknife_interval(value, np.clip(deleted, -1.0, 1.0), resampling.level)
    return low, high


def _wins(score: Floats, positive: Bools, code: Ints) -> Floats:
    """Of each row, how many rows of the other kind in its cluster lie on the right side of it, ties half: (n,)."""
    counts = [np.bincount(code[kind], minlength=code.max() + 1)[code] for kind in (positive, ~positive)]
    below = _ranks(score, code)
    for kind in (positive, ~positive):
        below[kind] -= _ranks(score[kind], code[kind])  # what is left: rows of the other kind below, ties half
    return np.asarray(np.where(positive, counts[1] - below, below))


def _ranks(score: Floats, code: Ints) -> Floats:
    """Mid-rank of each row within its cluster, from 1."""
    from scipy.stats import rankdata

    if not len(score):
        return np.empty(0)
    sizes = np.bincount(code)
    dense = rankdata(score, method="dense")
    return np.asarray(rankdata(code * (dense.max() + 1.0) + dense) - (np.cumsum(sizes) - sizes)[code])


def _paired(a: ArrayLike, b: ArrayLike, clusters: Labels | None) -> tuple[Floats, Floats, Ints, int]:
    """Complete rows of both, the second as flags, with the code of each row's cluster and the number of clusters."""
    scores = vector("scores", a)
    labels, (scores, flags) = complete_rows("clusters", clusters, scores, vector("flags", b, len(scores)))
    if not np.isin(flags, (0.0, 1.0)).all():
        raise ValueError(FLAGS)
    code, names = codes("clusters", labels, len(scores))
    return scores, flags, code, len(names)


def _spread(sums: Floats) -> Floats:
    """Sum of squares about the mean, along the last axis."""
    return np.asarray(((sums - sums.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))
