"""The exact interval of a share (Clopper and Pearson 1934). Knows counts, whole or effective."""

from __future__ import annotations


def clopper_pearson(hits: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """(low, high) in [0, 1] of hits among trials > 0; 0 and 1 are ends where there are no hits, or only hits."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high
