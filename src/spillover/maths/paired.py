"""Each question before and after fine-tuning. Knows two numbers a question, not what they score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, vector
from spillover.maths.bootstrap import DEFAULT, Resampling, ratio
from spillover.maths.correlation import pearson
from spillover.maths.estimate import NAN, Estimate


@dataclass(frozen=True)
class PriorPost:
    """What METHOD section 2a compares. Every number is NaN where fewer than 3 questions have both sides.

    n: questions with both. difference: mean of post - prior, with interval and p over families.
    wilcoxon_statistic, wilcoxon_p: signed-rank test on the pairs (zero differences dropped, as published; p =
    1 where every difference is 0). ks_statistic, ks_p: two-sample Kolmogorov-Smirnov, which does not use the
    pairing and treats questions as independent. r: Pearson over questions. slope, intercept: least squares,
    post = intercept + slope prior. r2: its share of variance, r squared. A slope below 1 is expected of noise
    alone (regression to the mean).
    """

    n: int
    difference: Estimate
    wilcoxon_statistic: float
    wilcoxon_p: float
    ks_statistic: float
    ks_p: float
    r: Estimate
    slope: float
    intercept: float
    r2: float


def prior_post(prior: ArrayLike, post: ArrayLike, family: Any = None, how: Resampling = DEFAULT) -> PriorPost:
    """Compare (questions,) means (or SDs) before and after; NaN where not scored; family (questions,) labels.

    Bounds in `how` are those of one score; the difference's follow.
    """
    a = vector("prior", prior)
    b = vector("post", post, len(a))
    keep = ~(np.isnan(a) | np.isnan(b))
    labels = np.arange(len(a)) if family is None else np.asarray(family)
    if labels.shape != a.shape:
        raise ValueError(f"family must hold {len(a)} labels, one a question, got shape {labels.shape}")
    a, b, labels = a[keep], b[keep], labels[keep]
    n = len(a)
    if n < 3:
        none = Estimate.missing(n, tested=True)
        return PriorPost(n, none, NAN, NAN, NAN, NAN, none, NAN, NAN, NAN)
    wide = how
    if how.bounds is not None:
        span = how.bounds[1] - how.bounds[0]
        wide = replace(how, bounds=(-span, span))
    gap = ratio(b - a, np.ones(n), labels, 0.0, wide)
    r = pearson(a, b, labels if family is not None else None, how)
    slope, intercept = _line(a, b)
    return PriorPost(n, gap, *_wilcoxon(b - a), *_ks(a, b), r, slope, intercept, r.estimate**2)


def _wilcoxon(gaps: Floats) -> tuple[float, float]:
    from scipy.stats import wilcoxon

    moved = gaps[np.abs(gaps) > 1e-12 * max(1.0, float(np.abs(gaps).max()))]
    if len(moved) == 0:
        return 0.0, 1.0
    result: Any = wilcoxon(moved)
    return float(result.statistic), float(result.pvalue)


def _ks(a: Floats, b: Floats) -> tuple[float, float]:
    from scipy.stats import ks_2samp

    result: Any = ks_2samp(a, b)
    return float(result.statistic), float(result.pvalue)


def _line(a: Floats, b: Floats) -> tuple[float, float]:
    centred = a - a.mean()
    spread = float(centred @ centred)
    if spread <= 1e-20 * max(1.0, float(a @ a)):
        return NAN, NAN
    slope = float(centred @ (b - b.mean())) / spread
    return slope, float(b.mean()) - slope * float(a.mean())
