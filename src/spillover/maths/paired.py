"""Each question before and after fine-tuning. Knows two numbers a question, not what they score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, codes, totals, vector
from spillover.maths.bootstrap import question_means, ratio
from spillover.maths.correlation import pearson
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import sign_flip


def difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    question_a: Any,
    question_b: Any,
    family: Any = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Mean over shared questions of (mean of a - mean of b), resampling families; p against no difference.

    values_a (n_a,), values_b (n_b,) with their question labels; family (n_a,) labels of a's rows. Paired: a
    question scored on one side only is left out; n counts the shared questions. bounds in `resampling` are those of
    one value.
    """
    mean_a, names_a, owner = question_means(values_a, question_a, family)
    mean_b, names_b, _ = question_means(values_b, question_b, None)
    scored_a, scored_b = ~np.isnan(mean_a), ~np.isnan(mean_b)
    _, in_a, in_b = np.intersect1d(names_a[scored_a], names_b[scored_b], return_indices=True)
    gaps = mean_a[scored_a][in_a] - mean_b[scored_b][in_b]
    return paired_mean(gaps, owner[scored_a][in_a], resampling)


def paired_mean(gaps: ArrayLike, clusters: Any, resampling: Resampling = DEFAULT) -> Estimate:
    """Mean of paired differences (n,), NaN where one side is missing; clusters (n,) labels; p against 0.

    Of the percentile-t and the null in which whole clusters change sides (`sign_flip`) the more cautious counts: the
    larger p, the outer ends. The first alone rejects too often where most differences are 0 or few are large, the other
    alone where they are skewed. bounds in `resampling` are those of one value.
    """
    d = vector("gaps", gaps)
    if resampling.bounds is not None:
        span = resampling.bounds[1] - resampling.bounds[0]
        resampling = Resampling(resampling.draws, resampling.level, resampling.seed, (-span, span))
    found = ratio(d, np.ones(len(d)), clusters, 0.0, resampling)
    if found.p is None or np.isnan(found.p):
        return found
    code, names = codes("clusters", clusters, len(d))
    there = ~np.isnan(d)
    sums = totals(np.where(there, d, 0.0), code, len(names))
    sizes = totals(there.astype(np.float64), code, len(names))
    low, high, p = sign_flip(sums[sizes > 0], sizes[sizes > 0], resampling.draws, resampling.rng(), resampling.level)
    ends = (found.low, found.high) if np.isnan(low) else (min(found.low, low), max(found.high, high))
    if resampling.bounds is not None:
        ends = max(ends[0], resampling.bounds[0]), min(ends[1], resampling.bounds[1])
    return Estimate(found.estimate, *ends, found.n, max(found.p, p))


@dataclass(frozen=True)
class PriorPost:
    """What METHOD section 2a compares. Every number is NaN where fewer than 3 questions have both sides.

    n: questions with both. difference: mean of post - prior, with interval and p over families.
    wilcoxon_statistic, wilcoxon_p: signed-rank test on the pairs (zero differences dropped, as published; p =
    1 where every difference is 0). ks_statistic, ks_p: two-sample Kolmogorov-Smirnov, which does not use the
    pairing and treats questions as independent. wilcoxon_family_p, ks_family_p: the same statistics against
    their null when whole families change sides (before for after): that keeps what a family's questions share,
    and is exact if nothing happened, with ties and in small samples too. r: Pearson over questions. slope,
    intercept: least squares, post = intercept + slope prior. r2: its share of variance, r squared. A slope below
    1 is expected of noise alone (regression to the mean).
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
    wilcoxon_family_p: float
    ks_family_p: float


def prior_post(prior: ArrayLike, post: ArrayLike, family: Any = None, resampling: Resampling = DEFAULT) -> PriorPost:
    """Compare (questions,) means (or SDs) before and after; NaN where not scored; family (questions,) labels.

    Bounds in `resampling` are those of one score; the difference's follow.
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
        return PriorPost(n, none, NAN, NAN, NAN, NAN, none, NAN, NAN, NAN, NAN, NAN)
    gap = paired_mean(b - a, labels, resampling)
    r = pearson(a, b, labels if family is not None else None, resampling)
    slope, intercept = _line(a, b)
    return PriorPost(
        n, gap, *_wilcoxon(b - a), *_ks(a, b), r, slope, intercept, r.estimate**2, *_by_family(a, b, labels, resampling)
    )


def _by_family(a: Floats, b: Floats, labels: Any, resampling: Resampling) -> tuple[float, float]:
    """p of the signed-rank and the two-sample statistic when whole families change sides; NaN for a single family."""
    from scipy.stats import rankdata

    code, names = codes("family", labels, len(a))
    if len(names) < 2:
        return NAN, NAN
    gaps = b - a
    moved = np.abs(gaps) > 1e-12 * max(1.0, float(np.abs(gaps).max()))
    ranks = np.zeros(len(gaps))
    ranks[moved] = rankdata(np.abs(gaps[moved])) * np.sign(gaps[moved])
    grid = np.unique(np.concatenate([a, b]))
    steps = (a[:, None] <= grid).astype(np.float64) - (b[:, None] <= grid)
    columns = np.zeros((len(names), 1 + len(grid)))
    np.add.at(columns, code, np.column_stack([ranks, steps]))
    sides = resampling.rng().choice([-1.0, 1.0], size=(resampling.draws, len(names)))
    drawn = np.abs(np.vstack([np.ones(len(names)), sides]) @ columns)
    signed, apart = drawn[:, 0], drawn[:, 1:].max(axis=1)
    return _share(signed), _share(apart)


def _share(statistics: Floats) -> float:
    """Share of all draws, the observed one first among them, that are as large as it."""
    return float((statistics >= statistics[0] - 1e-9).mean())


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
