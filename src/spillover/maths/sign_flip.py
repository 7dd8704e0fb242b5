"""The mean of paired differences when whole families change sides. Knows sums of differences and counts only.

If nothing happened, each family's before and after could have been named the other way round: the sign of its summed
difference is a fair coin. That null is exact in small samples and with many zeros, where a bootstrap of few unequal
families is not: at 24 questions near the end of the scale the percentile-t rejected 8% at 5%, of EM indicators 13%
(docs/results/calibration.md). Shifting the null gives an interval, exact where differences scatter symmetrically.
"""

from __future__ import annotations

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.estimate import NAN

MOST_VALUES = 4_000_000  # signs held at once


def sign_flip(
    sums: Floats, sizes: Floats, draws: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """(low, high, p) of sum(sums) / sum(sizes), families (m,) each changing sides with its own coin.

    p is two-sided against 0. A null of theta flips sums - theta sizes; a draw of signs is as extreme as what was seen
    just for theta between two values, so the interval's ends are order statistics of those. NaN ends where m families
    cannot reject at this level whatever they hold (m < 6 at 95%).
    """
    m = len(sums)
    count = int(np.floor((1 - level) * (draws + 1) + 1e-9))
    lows, highs = np.empty(draws), np.empty(draws)
    part = max(1, MOST_VALUES // max(m, 1))
    for start in range(0, draws, part):
        signs = rng.choice([-1.0, 1.0], size=(min(part, draws - start), m))
        lows[start : start + part], highs[start : start + part] = _reach(signs, sums, sizes)
    p = float((1 + ((lows <= 0) & (highs >= 0)).sum()) / (1 + draws))
    if 2.0 ** (1 - m) > 1 - level or count < 1:
        return NAN, NAN, p
    return float(np.sort(lows)[count - 1]), float(np.sort(-highs)[count - 1] * -1), p


def _reach(signs: Floats, sums: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """For each draw the theta between which |flipped - theta sizes| is at least as large as unflipped."""
    seen, weight = float(sums.sum()), float(sizes.sum())
    flipped, left = signs @ sums, signs @ sizes
    slack = 1e-9 * weight
    edges = []
    for top, bottom, end in ((seen - flipped, weight - left, -np.inf), (seen + flipped, weight + left, np.inf)):
        same = bottom <= slack  # all families on one side: as extreme for every theta
        edges.append(np.where(same, end, top / np.where(same, 1.0, bottom)))
    same = np.isinf(edges[0]) | np.isinf(edges[1])
    low, high = np.minimum(*edges), np.maximum(*edges)
    nudge = 1e-12 * np.maximum(1.0, np.abs(edges[1]))
    return np.where(same, -np.inf, low - np.where(same, 0.0, nudge)), np.where(
        same, np.inf, high + np.where(same, 0.0, nudge)
    )
