"""Two-phase judging: a cheap judge's scores of all answers, set right by a dear judge's of a probability sample.

Each answer gets a *pseudo-value*

    m(x) + drawn (y - m(x)) / inclusion        m(x) = a + w x

x: the cheap judge's score; y: the dear judge's, of the answers drawn. Its expectation over the sample is y, whatever
the cheap judge says, so that every mean of pseudo-values is one of the dear judge's scores: prediction-powered
inference (Angelopoulos et al. 2023, arXiv 2301.09633) with its weight w tuned for power (arXiv 2311.01453): least
squares of y on x over the sample, each answer weighed by 1 / inclusion; in survey statistics the generalised regression
estimator (Särndal, Swensson and Wretman 1992, chapter 6). The weights that an answer meets are fitted without its own
family of questions, so that its residual is an honest one. Resampling families of pseudo-values carries both phases.

What is ours: the intercept a (a judge that is off by as much everywhere costs no precision), the fit without the own
family, and what is said of single questions (`two_phase_questions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spillover.maths.arrays import Bools, Floats, Labels, codes, quotient
from spillover.maths.bootstrap import mean
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.proportions import clopper_pearson

MOST = 0.5  # by which a residual's g-weight is taken to differ from 1
FEW = 5  # second judgements below which no weight is fitted: the cheap score counts as it is, less its mean error


@dataclass(frozen=True, eq=False)
class PseudoValues:
    """What the two phases say of each answer.

    values: (n,) pseudo-values, NaN outside the frame. Means of them are unbiased; single ones are no scores.
    predictions: (n,) m(x), the expected dear score of an answer given its cheap one, on the dear judge's scale.
    residuals: (n,) dear score less prediction; NaN where there is no dear score.
    weights: (k,) the tuned weight of each column of x, fitted to the whole sample.
    """

    values: Floats
    predictions: Floats
    residuals: Floats
    weights: Floats

    @property
    def labelled(self) -> int:
        """How many answers have a dear score."""
        return int((~np.isnan(self.residuals)).sum())


def pseudo_values(
    x: Floats, y: Floats, inclusion: Floats, drawn: Bools, group: Labels, shares: bool = False
) -> PseudoValues:
    """Pseudo-values of the answers of one model.

    x: (n, k) cheap scores; a column's NaN is taken as its mean. y: (n,) dear scores, NaN where there is none.
    inclusion: (n,) probability in (0, 1] of being drawn, NaN for an answer outside the frame. drawn: (n,) which were.
    group: (n,) families, out of which an answer's weights are not fitted.
    Answers drawn that got no dear score are taken as a random part of those drawn: inclusion probabilities shrink by
    the share that was scored. Without any dear score all is NaN.
    shares: y is 0 or 1. Its residuals are largest where x says 1, and there the fit rests on few answers: the error of
    the fit is then put into the values' spread by g-weights (`_imbalance`); their mean is as it was.
    """
    frame = ~np.isnan(inclusion)
    if (inclusion[frame] <= 0).any() or (inclusion[frame] > 1 + 1e-9).any():
        raise ValueError("inclusion probabilities lie above 0 and at most at 1")
    seen = frame & drawn & ~np.isnan(y)
    n, k = x.shape
    nothing = np.full(n, NAN)
    if not seen.any():
        return PseudoValues(nothing, nothing.copy(), nothing.copy(), np.full(k, NAN))
    among = frame & drawn
    answered = float((1 / inclusion[seen]).sum() / (1 / inclusion[among]).sum())
    chance = inclusion * answered
    filled = np.where(np.isnan(x), _column_means(x[frame]), x)
    code, names = codes("group", group, n)
    if len(np.unique(code[seen])) < 3:  # too few families: answers are left out one by one
        code, names = np.arange(n), np.arange(n)
    weight = np.where(seen, 1 / np.where(frame, chance, 1.0), 0.0)
    fits, whole = _left_out_fits(filled, np.where(seen, y, 0.0), weight, code, len(names))
    predictions = np.where(frame, fits[code, 0] + (fits[code, 1:] * filled).sum(axis=1), NAN)
    residuals = np.where(seen, y - predictions, NAN)
    corrections = np.where(seen, np.nan_to_num(residuals) * weight, 0.0)
    values = predictions + corrections
    if shares:
        of_fit = corrections * _imbalance(filled, weight, frame)
        values = values + np.where(frame, of_fit - of_fit[frame].mean(), 0.0)
    return PseudoValues(values, predictions, residuals, whole[1:])


def _imbalance(x: Floats, weight: Floats, frame: Bools) -> Floats:
    """(n,) g - 1 of the regression estimator: by how much more than its weight an answer's residual moves the mean.

    g_i = 1 + (t - t_s)' S^-1 x_i, with t the sums of (1, x) over the frame, t_s their weighted sums over the sample and
    S the weighted products (Särndal, Swensson and Wretman 1992, section 6.6). At most `MOST` in size, since where
    hardly any answer is 1 it would widen intervals to no purpose; 0 for few answers, which have no fit.
    """
    seen, k = weight > 0, x.shape[1]
    if int(seen.sum()) < FEW + k - 1:
        return np.zeros(len(x))
    centre = x[frame].mean(axis=0)
    scale = np.maximum(x[frame].std(axis=0), 1e-9 * np.maximum(np.abs(centre), 1.0))
    design = np.column_stack([np.ones(len(x)), (x - centre) / scale])
    gap = design[frame].sum(axis=0) - weight @ design
    gram = (design * weight[:, None]).T @ design
    return np.asarray(np.clip(design @ np.linalg.lstsq(gram, gap, rcond=1e-9)[0], -MOST, MOST))


def _column_means(x: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        there = ~np.isnan(x)
        return np.nan_to_num(quotient(np.where(there, x, 0.0).sum(axis=0), there.sum(axis=0).astype(np.float64)))


def _left_out_fits(x: Floats, y: Floats, weight: Floats, code: np.ndarray, groups: int) -> tuple[Floats, Floats]:
    """(groups, 1 + k) intercept and weights fitted without each group, and (1 + k,) with all.

    Rows count by `weight` (n,), 0 for those that were not judged twice.
    """
    used = weight > 0
    design, of, w, target = np.column_stack([np.ones(int(used.sum())), x[used]]), code[used], weight[used], y[used]
    k = design.shape[1]
    gram = np.zeros((groups, k, k))
    np.add.at(gram, of, design[:, :, None] * design[:, None, :] * w[:, None, None])
    moment = np.zeros((groups, k))
    np.add.at(moment, of, design * (w * target)[:, None])
    count = np.bincount(of, minlength=groups)
    all_gram, all_moment, total = gram.sum(axis=0), moment.sum(axis=0), int(count.sum())
    whole = _fit(all_gram, all_moment, total)
    fits = np.tile(whole, (groups, 1))  # a group without dear scores is in no fit
    for index in np.flatnonzero(count):
        fits[index] = _fit(all_gram - gram[index], all_moment - moment[index], total - int(count[index]))
    return fits, whole


def _fit(gram: Floats, moment: Floats, rows: int) -> Floats:
    """Intercept and weights (1 + k,) by least squares, from sums of products of the columns (1, x)."""
    k = len(moment) - 1
    ones = np.concatenate([[0.0], np.ones(k) if k == 1 else np.eye(k)[0]])  # the first column as it is
    if rows < 1 or gram[0, 0] <= 0:
        return ones
    centre, level = gram[0, 1:] / gram[0, 0], moment[0] / gram[0, 0]
    if rows < FEW + k - 1:
        ones[0] = level - float(centre @ ones[1:])
        return ones
    spread = gram[1:, 1:] - gram[0, 0] * np.outer(centre, centre)
    shared = moment[1:] - moment[0] * centre
    scale = np.sqrt(np.maximum(np.diag(spread), 0.0))
    flat = scale <= 1e-9 * np.sqrt(np.maximum(np.diag(gram)[1:], 1e-300))
    scale = np.where(flat, 1.0, scale)
    ridge = spread / np.outer(scale, scale) + np.diag(np.where(flat, 1.0, 1e-9))
    weights = np.where(flat, 0.0, np.linalg.solve(ridge, np.where(flat, 0.0, shared / scale)) / scale)
    return np.concatenate([[level - float(centre @ weights)], weights])


def mean_ratio(top: Floats, bottom: Floats, family: Labels, resampling: Resampling = DEFAULT) -> Estimate:
    """sum(top) / sum(bottom) of pseudo-values (n,), resampling families; linearised, since a bottom can be below 0.

    NaN where the bottom's sum is not above 0. The estimate's n counts the answers.
    """
    used = ~np.isnan(top) & ~np.isnan(bottom)
    whole = float(bottom[used].sum())
    if not used.any() or whole <= 0:
        return Estimate.missing(int(used.sum()))
    value = float(top[used].sum()) / whole
    residual = np.where(used, (top - value * bottom) * used.sum() / whole, NAN)
    around = mean(residual, family, resampling=replace(resampling, bounds=None))
    return replace(around, estimate=value, low=value + around.low, high=value + around.high)


def within_scale(estimate: Estimate, scale: tuple[float, float], families: int, level: float = 0.95) -> Estimate:
    """A level of pseudo-values brought onto its scale, and its interval to what that scale allows.

    A correction can carry an estimate past the scale's end, where the end is nearer to the truth. The interval is cut
    to that of Clopper and Pearson with as many trials as there are `families` with dear scores: were every family at
    one end of the scale, no sample of them could be further off. It alone stands where pseudo-values do not vary.
    """
    least, greatest = scale
    if np.isnan(estimate.estimate) or families < 2:
        return estimate
    value = float(np.clip(estimate.estimate, least, greatest))
    share = (value - least) / (greatest - least)
    floor, ceiling = (least + (greatest - least) * end for end in clopper_pearson(share * families, families, level))
    low = floor if np.isnan(estimate.low) else max(estimate.low, floor)
    high = ceiling if np.isnan(estimate.high) else min(estimate.high, ceiling)
    return replace(estimate, estimate=value, low=float(min(low, value)), high=float(max(high, value)))
