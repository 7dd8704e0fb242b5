"""Paired comparisons: the mean difference over questions, and every question before against after fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Bools, Floats, Labels, Names, codes, complete_rows, totals, vector
from spillover.maths.bootstrap import question_means, ratio
from spillover.maths.correlation import pearson
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.permutation import exceedance, sign_flip


def difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    question_a: Labels,
    question_b: Labels,
    family: Labels | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Mean over shared questions of (mean of a - mean of b), resampling families; p against no difference.

    values_a (n_a,), values_b (n_b,) with their question labels; family (n_a,) labels of a's rows. Paired: a
    question scored on one side only is left out; the estimate's n counts the shared questions. `resampling.bounds`
    are those of one value.
    """
    mean_a, questions_a, families = question_means(values_a, question_a, family)
    mean_b, questions_b, _ = question_means(values_b, question_b)
    scored_a, scored_b = ~np.isnan(mean_a), ~np.isnan(mean_b)
    _, in_a, in_b = np.intersect1d(questions_a[scored_a], questions_b[scored_b], return_indices=True)
    gaps = mean_a[scored_a][in_a] - mean_b[scored_b][in_b]
    return paired_mean(gaps, families[scored_a][in_a], resampling)


def paired_mean(gaps: ArrayLike, clusters: Labels, resampling: Resampling = DEFAULT) -> Estimate:
    """Mean of paired differences (n,), NaN where one side is missing; clusters (n,) labels; p against 0.

    Of the percentile-t (`bootstrap.ratio`) and the null in which whole clusters change sides (`sign_flip`) the more
    cautious counts: the larger p, the outer ends. The first alone rejects too often where most differences are 0 or
    few are large, the other alone where they are skewed. `resampling.bounds` are those of one value.
    """
    d = vector("gaps", gaps)
    if resampling.bounds is not None:
        span = resampling.bounds[1] - resampling.bounds[0]
        resampling = replace(resampling, bounds=(-span, span))
    estimate = ratio(d, np.ones(len(d)), clusters, 0.0, resampling)
    if estimate.p is None or np.isnan(estimate.p):
        return estimate
    code, names = codes("clusters", clusters, len(d))
    there = ~np.isnan(d)
    sums = totals(np.where(there, d, 0.0), code, len(names))
    sizes = totals(there.astype(np.float64), code, len(names))
    low, high, p = sign_flip(sums[sizes > 0], sizes[sizes > 0], resampling.draws, resampling.rng(), resampling.level)
    low, high = (estimate.low, estimate.high) if np.isnan(low) else (min(estimate.low, low), max(estimate.high, high))
    if resampling.bounds is not None:
        low, high = max(low, resampling.bounds[0]), min(high, resampling.bounds[1])
    return replace(estimate, low=low, high=high, p=max(estimate.p, p))


@dataclass(frozen=True)
class PriorPost:
    """Question means before against after (docs/method.md, section 2a). NaN where fewer than 3 questions have both.

    n: questions with both.
    difference: mean of post - prior, with interval and p over families.
    wilcoxon_statistic, wilcoxon_p: signed-rank test on the pairs (zero differences dropped, as published; p = 1 where
        every difference is 0).
    ks_statistic, ks_p: two-sample Kolmogorov-Smirnov, which does not use the pairing and takes questions as
        independent.
    wilcoxon_family_p, ks_family_p: the same statistics against their null when whole families change sides (before for
        after): that keeps what a family's questions share, and is exact if nothing happened, with ties and in small
        samples too. NaN for a single family.
    r: Pearson over questions.
    slope, intercept: least squares, post = intercept + slope prior. A slope below 1 is expected of noise alone
        (regression to the mean).
    r2: share of variance that the line explains, r squared.
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


def prior_post(
    prior: ArrayLike, post: ArrayLike, family: Labels | None = None, resampling: Resampling = DEFAULT
) -> PriorPost:
    """Compare (questions,) means (or SDs) before and after; NaN where not scored; family (questions,) labels.

    `resampling.bounds` are those of one score; the difference's follow.
    """
    a = vector("prior", prior)
    b = vector("post", post, len(a))
    labels, (a, b) = complete_rows("family", family, a, b)
    n = len(a)
    if n < 3:
        none = Estimate.missing(n, tested=True)
        return PriorPost(n, none, NAN, NAN, NAN, NAN, none, NAN, NAN, NAN, NAN, NAN)
    gap = paired_mean(b - a, labels, resampling)
    r = pearson(a, b, labels, resampling)
    slope, intercept = _line(a, b)
    by_family = _by_family(a, b, labels, resampling)
    return PriorPost(n, gap, *_wilcoxon(b - a), *_ks(a, b), r, slope, intercept, r.estimate**2, *by_family)


def _by_family(a: Floats, b: Floats, labels: Names, resampling: Resampling) -> tuple[float, float]:
    """p of the signed-rank and the two-sample statistic when whole families change sides; NaN for a single family."""
    from scipy.stats import rankdata

    code, names = codes("family", labels, len(a))
    if len(names) < 2:
        return NAN, NAN
    gaps = b - a
    moved = _moved(gaps)
    ranks = np.zeros(len(gaps))
    ranks[moved] = rankdata(np.abs(gaps[moved])) * np.sign(gaps[moved])
    grid = np.unique(np.concatenate([a, b]))
    steps = (a[:, None] <= grid).astype(np.float64) - (b[:, None] <= grid)
    columns = np.zeros((len(names), 1 + len(grid)))
    np.add.at(columns, code, np.column_stack([ranks, steps]))
    sides = resampling.rng().choice([-1.0, 1.0], size=(resampling.draws, len(names)))
    drawn = np.abs(np.vstack([np.ones(len(names)), sides]) @ columns)  # the first row is what was observed
    statistics = np.stack([drawn[:, 0], drawn[:, 1:].max(axis=1)])
    signed_rank, two_sample = exceedance(statistics[:, 0], statistics[:, 1:])
    return float(signed_rank), float(two_sample)


def _moved(gaps: Floats) -> Bools:
    """Which differences are not 0 up to rounding: (n,)."""
    return np.abs(gaps) > 1e-12 * max(1.0, float(np.abs(gaps).max()))


def _wilcoxon(gaps: Floats) -> tuple[float, float]:
    from scipy.stats import wilcoxon

    moved = gaps[_moved(gaps)]
    if len(moved) == 0:
        return 0.0, 1.0
    statistic, p = wilcoxon(moved)
    return float(statistic), float(p)


def _ks(a: Floats, b: Floats) -> tuple[float, float]:
    from scipy.stats import ks_2samp

    statistic, p = ks_2samp(a, b)
    return float(statistic), float(p)


def _line(a: Floats, b: Floats) -> tuple[float, float]:
    """Slope and intercept of b on a by least squares; NaN where a does not vary."""
    centred = a - a.mean()
    spread = float(centred @ centred)
    if spread <= 1e-20 * max(1.0, float(a @ a)):
        return NAN, NAN
    slope = float(centred @ (b - b.mean())) / spread
    return slope, float(b.mean()) - slope * float(a.mean())


def student_mean(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of independent values (n,) with Student's t interval and p against 0; NaN are left out.

    For few values, where a bootstrap has nothing to draw from. No interval and no p (NaN) where values do not vary.
    """
    from scipy.stats import t

    v = vector("values", values)
    v = v[~np.isnan(v)]
    n = len(v)
    error = float(v.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    centre = float(v.mean()) if n else NAN
    if error == 0:
        return Estimate(centre, NAN, NAN, n, NAN)
    reach = float(t.ppf((1 + level) / 2, n - 1)) * error
    return Estimate(centre, centre - reach, centre + reach, n, float(2 * t.sf(abs(centre) / error, n - 1)))
