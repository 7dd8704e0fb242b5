"""How repeatable question means are, and the correlation that their noise leaves attainable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, complete_rows, matrix
from spillover.maths.estimate import NAN, Resampling

SPLITS = Resampling(draws=200)


@dataclass(frozen=True)
class Reliability:
    """Share of the variance of question means that is not sampling noise.

    value: for means over all the answers there are; 1 is noiseless, 0 (or a little below, by chance) nothing but
        noise; NaN where it cannot be computed.
    half: mean correlation of the halves, uncorrected; NaN from `from_errors`.
    n: questions used.
    """

    value: float
    half: float
    n: int


@dataclass(frozen=True)
class NoiseCeiling:
    """What a perfect relation of x and y would show given their noise (Spearman 1904); NaN where a reliability is.

    r: attainable correlation, sqrt(reliability of x * reliability of y).
    r2: its square. For a prediction from noiseless features the reliability of x is 1, and r2 is the attainable R2.
    """

    r: float
    r2: float


def split_half(answers: ArrayLike, resampling: Resampling = SPLITS) -> Reliability:
    """Reliability of question means from answers (questions, samples), NaN where unscored.

    In each of `resampling.draws` random splits each question's scored answers are halved and the two means are
    correlated over questions. The mean correlation r is stepped up once to the full number of answers: 2 r / (1 + r)
    (Spearman-Brown), in Horst's (1949) form where an odd number of answers makes the halves unequal. The mean is taken
    first because stepping up single splits goes astray at negative r. A question with fewer than two scored answers is
    left out. Fewer than 3 questions or no variation: NaN. What repeats over the answers to a question (the judge's own
    bias) does not count as noise here.
    """
    scores = matrix("answers", answers, missing=True)
    scores = scores[(~np.isnan(scores)).sum(axis=1) >= 2]
    n = len(scores)
    if n < 3:
        return Reliability(NAN, NAN, n)
    rng = resampling.rng()
    halves = np.array([_split_correlation(scores, rng) for _ in range(resampling.draws)])
    halves = halves[~np.isnan(halves)]
    if len(halves) == 0:
        return Reliability(NAN, NAN, n)
    half = float(halves.mean())
    counts = (~np.isnan(scores)).sum(axis=1)
    product = float((((counts + 1) // 2) * (counts // 2) / counts**2).mean())  # of the halves' shares; 1/4 if even
    return Reliability(_stepped_up(half, product), half, n)


def from_errors(means: ArrayLike, errors: ArrayLike) -> Reliability:
    """Reliability from (units,) means and their standard errors: 1 - mean(error^2) / variance of the means.

    For means whose answers are not at hand. Unbiased in the numerator: close to `split_half` of the same answers (half
    is NaN). A unit without mean or error is left out; fewer than 3, or no variation: NaN. Below 0 by chance.
    """
    m = np.asarray(means, dtype=np.float64)
    e = np.asarray(errors, dtype=np.float64)
    if m.shape != e.shape or m.ndim != 1:
        raise ValueError(f"means and errors must be (units,) alike, got shapes {m.shape} and {e.shape}")
    _, (m, e) = complete_rows("errors", None, m, e)
    if len(m) < 3 or not float(m.var(ddof=1)) > 1e-20 * max(1.0, float(np.abs(m).max()) ** 2):
        return Reliability(NAN, NAN, len(m))
    return Reliability(float(1 - (e**2).mean() / m.var(ddof=1)), NAN, len(m))


def noise_ceiling(reliability_x: float, reliability_y: float) -> NoiseCeiling:
    """The attainable correlation and R2 from two reliabilities, at most 1; one below 0 counts as 0."""
    product = max(reliability_x, 0.0) * max(reliability_y, 0.0)
    if np.isnan(reliability_x) or np.isnan(reliability_y):
        product = NAN
    if product > 1 + 1e-9:
        raise ValueError(f"reliabilities lie at or below 1, got {reliability_x:g} and {reliability_y:g}")
    return NoiseCeiling(float(np.sqrt(product)), float(product))


def _stepped_up(r: float, product: float) -> float:
    """Horst's reliability of the whole from two parts' correlation; Spearman-Brown at product = 1/4.

    product: of the two parts' shares of the answers.
    """
    if abs(r) > 1 - 1e-12:
        return 1.0 if r > 0 else NAN
    rest = 1 - r**2
    return float(r * (np.sqrt(r**2 + 4 * product * rest) - r) / (2 * product * rest))


def _split_correlation(scores: Floats, rng: np.random.Generator) -> float:
    """Correlation over questions of the means of two random halves of each question's scored answers."""
    keys = np.where(np.isnan(scores), np.inf, rng.random(scores.shape))
    rank = np.argsort(np.argsort(keys, axis=1), axis=1)
    counts = (~np.isnan(scores)).sum(axis=1)
    filled = np.nan_to_num(scores)
    in_first = rank < ((counts + 1) // 2)[:, None]
    in_second = ~in_first & (rank < counts[:, None])
    first = (filled * in_first).sum(axis=1) / in_first.sum(axis=1)
    second = (filled * in_second).sum(axis=1) / in_second.sum(axis=1)
    a, b = first - first.mean(), second - second.mean()
    bottom = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / bottom) if bottom > 1e-12 else NAN
