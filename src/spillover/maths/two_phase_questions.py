"""What two-phase judging says of single questions: predictions, and how noisy means of pseudo-values are.

A question has few answers with a dear score, or none. The mean of its pseudo-values is unbiased and noisy; its
prediction is steady and leans on the other questions. Relations over questions take the first, less its noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spillover.maths.arrays import Floats, Labels, codes, quotient, totals
from spillover.maths.estimate import NAN, Estimate
from spillover.maths.paired import PriorPost
from spillover.maths.reliability import Reliability
from spillover.maths.two_phase import PseudoValues

CAUTION = 4.0  # Fuller (1987, section 2.5): a little less noise is taken off, since few questions tell it poorly


@dataclass(frozen=True, eq=False)
class QuestionPredictions:
    """What two phases say of single questions, of which most have few dear scores, or none: (questions,) each.

    means: predicted mean of the dear scores of the question's answers.
    errors: standard error of that prediction, as an average over questions: of the prediction alone.
    scatter: standard error of such a mean, had the dear judge scored every answer: the answers' own scatter.
    noise: variance that the sample adds to the mean of the question's pseudo-values.
    labelled: how many of its answers have a dear score.
    """

    means: Floats
    errors: Floats
    scatter: Floats
    noise: Floats
    labelled: Floats


def question_predictions(
    phases: PseudoValues, y: Floats, inclusion: Floats, question: Labels, questions: Labels
) -> QuestionPredictions:
    """Predictions for `questions` from the answers of one model; question (n,) labels of the answers.

    The residuals of a question's answers share a part u with variance `between`, and scatter with variance `within`
    (one-way components by the method of moments). The prediction is the composite one of small-area estimation (Fay and
    Herriot 1979; Rao and Molina 2015, chapter 5): mean prediction + g (mean residual), g = between / (between + within
    (1 - l / n) / l), for l of n answers with a dear score; its mean square error is between (1 - g).
    """
    names = np.asarray(questions, dtype=object).astype(str)
    code, present = codes("question", np.asarray(question, dtype=object).astype(str), len(y))
    place = np.searchsorted(present, names)
    there = np.array([at < len(present) and present[at] == name for at, name in zip(place, names, strict=True)])
    place = np.where(there, place, 0)
    groups = len(present)
    frame, seen = ~np.isnan(phases.predictions), ~np.isnan(phases.residuals)
    answers = totals(frame.astype(np.float64), code, groups)
    labelled = totals(seen.astype(np.float64), code, groups)
    level = quotient(totals(np.where(frame, phases.predictions, 0.0), code, groups), answers)
    gap = np.nan_to_num(quotient(totals(np.where(seen, phases.residuals, 0.0), code, groups), labelled))
    between, within = _components(phases.residuals[seen], code[seen], groups)
    _, scatter = _components(y[seen], code[seen], groups)
    thinned = within * quotient(1 - quotient(labelled, answers), labelled)
    trust = np.nan_to_num(quotient(np.full(groups, between), between + thinned))
    error = np.sqrt(between * (1 - trust))
    expected = totals(np.where(frame, inclusion, 0.0), code, groups)
    fraction = expected - np.floor(expected + 1e-9)
    rate = quotient(expected, answers)
    noise = (
        quotient(within * (1 - rate), expected) + between * fraction * (1 - fraction) / np.maximum(expected, 1e-9) ** 2
    )
    columns = (level + trust * gap, error, np.sqrt(quotient(np.full(groups, scatter), answers)), noise, labelled)
    return QuestionPredictions(*(np.where(there, column[place], NAN) for column in columns))


def _components(values: Floats, code: np.ndarray, groups: int) -> tuple[float, float]:
    """Variance between groups and within them, by moments; all of it both where no group has two values."""
    count = np.bincount(code, minlength=groups).astype(np.float64)
    n, several = float(count.sum()), int((count > 0).sum())
    if n < 2:
        return NAN, NAN
    means = np.nan_to_num(quotient(totals(values, code, groups), count))
    inside = float(((values - means[code]) ** 2).sum())
    whole = float(values.var(ddof=1))
    if n - several < 1:
        return whole, whole
    within = inside / (n - several)
    if several < 2:
        return 0.0, within
    outside = float((count * (means - values.mean()) ** 2).sum())
    between = (outside - (several - 1) * within) / (n - float((count**2).sum()) / n)
    return max(between, 0.0), within


@dataclass(frozen=True, eq=False)
class NoisyMeans:
    """Means of pseudo-values of some questions, as `question_predictions` sees them: (questions,) each.

    noise: variance that the sample adds. scatter: standard error from the answers' own scatter.
    """

    means: Floats
    noise: Floats
    scatter: Floats

    def variance(self) -> tuple[float, float]:
        """Over questions: of the means as they are, and without what the sample adds; NaN where that is all of it."""
        known = int(np.isfinite(self.noise).sum())
        if known < 3:
            return NAN, NAN
        whole = float(np.nanvar(self.means, ddof=1))
        left = whole - (1 - min(CAUTION / (known - 1), 1.0)) * float(np.nanmean(self.noise))
        return whole, left if left > 0 else NAN

    def reliability(self) -> Reliability:
        """Of the means that the dear judge would give, had it scored every answer."""
        left = self.variance()[1]
        known = np.isfinite(self.scatter)
        value = 1 - float((self.scatter[known] ** 2).mean()) / left if known.any() else NAN
        return Reliability(value, NAN, int(known.sum()))


def without_sampling_noise(tests: PriorPost, before: NoisyMeans, after: NoisyMeans) -> PriorPost:
    """r, its interval, the slope and r2 as they would be, had the dear judge scored every answer.

    The sample's noise is in the variances of both sides and in no covariance: it is taken off the variances (correction
    for attenuation, Spearman 1904), in the interval as well. p values stay, which hold whatever the noise.
    """
    (all_a, a), (all_b, b) = before.variance(), after.variance()
    stretch = float(np.sqrt(all_a / a * all_b / b))
    value, low, high = (float(np.clip(end * stretch, -1, 1)) for end in (tests.r.estimate, tests.r.low, tests.r.high))
    r: Estimate = replace(tests.r, estimate=value, low=low, high=high)
    slope = tests.slope * all_a / a
    middle = (float(np.nanmean(side.means)) for side in (after, before))
    return replace(tests, r=r, slope=slope, intercept=next(middle) - slope * next(middle), r2=value**2)
