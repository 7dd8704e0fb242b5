"""A ratio of two differences of arms with an interval: what leaks for what is learnt (docs/method.md, section 4).

The ratio's interval is Fieller's (1954): the values theta for which broad - theta narrow is not told from 0,

    (B - theta N)^2 <= t^2 (V_BB - 2 theta V_BN + theta^2 V_NN)

It is not symmetric, and has no end where N itself is not told from 0: such data set no bound, and an interval that had
one (delta method) would claim to know what nobody knows. V is the sum of what families make (those of the broad
questions and of the narrow prompts are other families: no covariance) and what training runs make beyond it, a run's
two drops going together; t has Satterthwaite's degrees of freedom at the estimate. With one run an arm nothing is known
of runs and the interval speaks of these models. The check is a bootstrap over families of both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from spillover.maths.arrays import Floats, codes, totals
from spillover.maths.bootstrap import question_means, resampling_counts
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.runs import Arm, difference_of_arms, family_gaps, run_by_family

Shape = Literal["interval", "outside", "everything", "unknown"]


@dataclass(frozen=True)
class RatioOfDifferences:
    """narrow, broad: differences a - b with interval and p, in the scores' unit. ratio: broad / narrow, no p.

    ratio's low and high are Fieller's ends; n counts the broad questions. shape: "interval", where it is one;
    "outside", where all but a gap between two ends is held (then low and high are infinite); "everything"; "unknown",
    where there are too few families. bootstrap: the same ratio with percentile ends over families, the check.
    """

    narrow: Estimate
    broad: Estimate
    ratio: Estimate
    shape: Shape
    bootstrap: Estimate


def ratio_of_differences(
    narrow: tuple[Arm, Arm], broad: tuple[Arm, Arm], resampling: Resampling = DEFAULT
) -> RatioOfDifferences:
    """(mean of broad[0] - broad[1]) / (mean of narrow[0] - narrow[1]), paired by question.

    The runs of an arm must be numbered alike on both sides, since a run's narrow and broad answers belong together.
    """
    below, above = (difference_of_arms(*arms, resampling) for arms in (narrow, broad))
    none = Estimate.missing(above.n)
    narrow_family, narrow_count = family_gaps(*narrow)
    broad_family, broad_count = family_gaps(*broad)
    if np.isnan(below.estimate) or np.isnan(above.estimate) or below.estimate == 0:
        return RatioOfDifferences(below, above, none, "unknown", none)
    value = above.estimate / below.estimate
    if min(narrow_count, broad_count) < 2:
        return RatioOfDifferences(below, above, Estimate(value, NAN, NAN, above.n), "unknown", none)
    excess, observed, run_df = _run_covariance(narrow, broad)
    families = np.diag([broad_family, narrow_family])
    contrast = np.array([1.0, -value])
    parts = [(broad_family, broad_count - 1), (value**2 * narrow_family, narrow_count - 1)]
    parts += [(float(contrast @ observed @ contrast), run_df)] if run_df and excess.any() else []
    total = float(contrast @ (families + excess) @ contrast)
    df = total**2 / max(sum(part**2 / free for part, free in parts), 1e-300)
    low, high, shape = fieller(above.estimate, below.estimate, families + excess, df, resampling.level)
    checked = _bootstrap(value, narrow, broad, resampling)
    return RatioOfDifferences(below, above, Estimate(value, low, high, above.n), shape, checked)


def fieller(
    top: float, bottom: float, covariance: Floats, df: float, level: float = 0.95
) -> tuple[float, float, Shape]:
    """Fieller's limits for top / bottom, normal estimates with the (2, 2) covariance of (top, bottom), and their shape.

    Solves (bottom^2 - t^2 V_bb) theta^2 - 2 (top bottom - t^2 V_tb) theta + (top^2 - t^2 V_tt) <= 0 with Student's t of
    `df`. Ends are infinite where the set has none (Fieller 1954, J. R. Stat. Soc. B 16:175; von Luxburg, Franz 2009).
    """
    from scipy.stats import t

    cut = float(t.ppf((1 + level) / 2, df)) ** 2
    a = bottom**2 - cut * covariance[1, 1]
    b = top * bottom - cut * covariance[0, 1]
    c = top**2 - cut * covariance[0, 0]
    root = b**2 - a * c
    if a > 0:
        reach = float(np.sqrt(max(root, 0.0)))
        return (b - reach) / a, (b + reach) / a, "interval"
    return -np.inf, np.inf, "outside" if root > 0 and a < 0 else "everything"


def _run_covariance(narrow: tuple[Arm, Arm], broad: tuple[Arm, Arm]) -> tuple[Floats, Floats, int]:
    """What runs add to the covariance of (broad, narrow) beyond families: (2, 2), no less than 0; the same with what
    runs x families make in it; degrees of freedom. Zeros and 0 where no arm has two runs."""
    between, inner, df, share = np.zeros((2, 2)), np.zeros(2), 0, 0.0
    for pair in zip(broad, narrow, strict=True):
        counts = {arm.runs for arm in pair}
        if len(counts) > 1:
            raise ValueError(f"an arm has {pair[0].runs} runs on the broad side and {pair[1].runs} on the narrow one")
        share += 1 / pair[0].runs if pair[0].runs else 0.0
        if pair[0].runs < 2:
            continue
        means = []
        for side, arm in enumerate(pair):
            table, weights = run_by_family(arm)
            rest = table - (table @ weights)[:, None]
            rest = rest - rest.mean(axis=0)
            families = max(table.shape[1], 2)
            inner[side] += float((rest**2 @ weights**2).sum()) * families / (families - 1)
            means.append(table @ weights)
        centred = np.array(means) - np.mean(means, axis=1, keepdims=True)
        between += centred @ centred.T
        df += pair[0].runs - 1
    if df == 0:
        return np.zeros((2, 2)), np.zeros((2, 2)), 0
    values, vectors = np.linalg.eigh((between - np.diag(inner)) / df)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T * share, between / df * share, df


def _bootstrap(value: float, narrow: tuple[Arm, Arm], broad: tuple[Arm, Arm], resampling: Resampling) -> Estimate:
    """The ratio with percentile ends, families of both sides drawn anew; runs are held as they are."""
    drawn = []
    for step, (a, b) in enumerate((broad, narrow)):
        mean_a, names_a, families = question_means(a.values, a.question, a.family)
        mean_b, names_b, _ = question_means(b.values, b.question)
        _, in_a, in_b = np.intersect1d(names_a, names_b, return_indices=True)
        gaps = mean_a[in_a] - mean_b[in_b]
        there = ~np.isnan(gaps)
        code, names = codes("family", np.asarray(families)[in_a][there], int(there.sum()))
        counts = resampling_counts(len(names), resampling.draws, resampling.seed + step)
        sizes = totals(np.ones(len(code)), code, len(names))
        drawn.append((counts @ totals(gaps[there], code, len(names))) / (counts @ sizes))
    ratios = np.divide(drawn[0], drawn[1], out=np.full(len(drawn[0]), np.inf), where=drawn[1] != 0)
    low, high = np.quantile(ratios, resampling.tails, method="inverted_cdf")
    return Estimate(value, float(low), float(high), resampling.draws)
