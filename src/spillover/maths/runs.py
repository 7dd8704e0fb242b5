"""Differences between arms of trained models, with training runs and question families as crossed random effects.

Training the same organism with another seed gives other scores, so several runs of one arm are a sample, as the
questions are. The variance of a difference of means over (runs x families) is the sum of what families share, what
runs share and their interaction. An interval over families alone holds the first and the last; `with_runs` adds

    excess = max(0, (MS_runs - MS_interaction) of a run's mean) x (1 / runs_a + 1 / runs_b)

to it, and takes Student's t with Satterthwaite's degrees of freedom for the sum (Satterthwaite 1946; Searle, Casella
and McCulloch 1992, section 2.5), the run variance being pooled over both arms. Where runs differ no more than their
interaction with families explains, the interval stays what it was; where runs differ much, its degrees of freedom are
those of the runs. Coverage and false positives at 2 to 10 runs an arm: docs/results/calibration.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spillover.maths.arrays import Bools, Floats, Labels, codes, quotient, totals
from spillover.maths.bootstrap import question_means
from spillover.maths.estimate import DEFAULT, NAN, Estimate, Resampling
from spillover.maths.paired import difference


@dataclass(frozen=True, eq=False)
class Arm:
    """The scores of one side of a contrast: all runs of one kind of training, or one model that was not trained.

    values: (n,) scores in points, NaN where missing. question, family: (n,) labels; a family holds whole questions.
    run: (n,) labels of the training run that gave each answer; None for a model that no run of this study made (the
        base), which has no variance over runs.
    """

    values: Floats
    question: Labels
    family: Labels
    run: Labels | None = None

    @property
    def runs(self) -> int:
        """How many training runs there are; 0 for an untrained model."""
        return 0 if self.run is None else len(codes("run", self.run, len(self.values))[1])


@dataclass(frozen=True)
class RunVariance:
    """How much the mean score varies from run to run, pooled over arms.

    runs: of each arm; 0 for an untrained model.
    variance: of one run's mean about its arm's, points squared, as observed (it holds the interaction too).
    interaction: the part of it that runs x families alone would make.
    df: degrees of freedom, sum over arms of runs - 1; 0 where no arm has two runs, and then both variances are NaN.
    """

    runs: tuple[int, ...]
    variance: float
    interaction: float
    df: int

    @property
    def sd(self) -> float:
        """Standard deviation of runs beyond the interaction, points, 0 or more; NaN where no arm has two runs."""
        return NAN if self.df == 0 else float(np.sqrt(max(self.variance - self.interaction, 0.0)))

    @property
    def share(self) -> float:
        """The factor from one run's variance to that of the difference: the sum of 1 / runs over trained arms."""
        return sum(1 / runs for runs in self.runs if runs)


def run_variance(*arms: Arm) -> RunVariance:
    """The run component of the arms' means, by a two-way layout (runs x families) in each, pooled.

    Families that a run lacks a score in are left out of it. Run means weigh families by their number of questions, as
    the mean over questions does.
    """
    tables = [run_by_family(arm) for arm in arms if arm.runs > 1]
    df = sum(len(means) - 1 for means, _ in tables)
    counts = tuple(arm.runs for arm in arms)
    if df == 0 or any(means.shape[1] < 2 for means, _ in tables):
        return RunVariance(counts, NAN, NAN, 0)
    between = interaction = 0.0
    for means, weights in tables:
        centred = means - means @ weights[:, None]
        rest = centred - centred.mean(axis=0)
        families = means.shape[1]
        between += float(((means @ weights - (means @ weights).mean()) ** 2).sum())
        interaction += float((rest**2 @ weights**2).sum()) * families / (families - 1)
    return RunVariance(counts, between / df, interaction / df, df)


def with_runs(estimate: Estimate, a: Arm, b: Arm, resampling: Resampling = DEFAULT) -> Estimate:
    """An estimate of mean(a) - mean(b) whose interval and p speak of families alone, widened to speak of runs too.

    Each end moves away from the estimate by the same factor; p is the larger of its own and that of the same t. Where
    no arm has two runs, or the estimate has no interval, it is returned as it is: then nothing is known of runs
    (`undoing_sd`). `resampling.bounds` are those of one value.
    """
    from scipy.stats import t

    runs = run_variance(a, b)
    gaps, families = family_gaps(a, b)
    if runs.df == 0 or np.isnan(estimate.low) or np.isnan(estimate.high) or families < 2:
        return estimate
    excess = max(runs.variance - runs.interaction, 0.0) * runs.share
    total = gaps + excess
    if excess == 0 or gaps == 0:
        return estimate
    df = total**2 / (gaps**2 / (families - 1) + (runs.variance * runs.share) ** 2 / runs.df)
    upper = (1 + resampling.level) / 2
    wider = float(np.sqrt(total / gaps) * t.ppf(upper, df) / t.ppf(upper, families - 1))
    low, high = (estimate.estimate + wider * (end - estimate.estimate) for end in (estimate.low, estimate.high))
    if resampling.bounds is not None:
        span = resampling.bounds[1] - resampling.bounds[0]
        low, high = max(low, -span), min(high, span)
    p = estimate.p
    if p is not None and not np.isnan(p):
        p = max(p, float(2 * t.sf(abs(estimate.estimate) / np.sqrt(total), df)))
    return replace(estimate, low=low, high=high, p=p)


def difference_of_arms(a: Arm, b: Arm, resampling: Resampling = DEFAULT) -> Estimate:
    """Mean over shared questions of mean(a) - mean(b), its interval over families of questions and training runs."""
    gap = difference(a.values, b.values, a.question, b.question, a.family, resampling)
    return with_runs(gap, a, b, resampling)


def undoing_sd(estimate: Estimate, runs: RunVariance, level: float = 0.95) -> float:
    """The run-to-run SD, points, at which an interval over questions alone would just reach 0; NaN where it does.

    Solves estimate² = reach² + z² SD² (1 / runs_a + 1 / runs_b), where reach is the interval's towards 0: what a reader
    with one run an arm has to hold against the SDs that are known (docs/science.md).
    """
    from scipy.stats import norm

    near = estimate.high if estimate.estimate < 0 else estimate.low
    reach = abs(estimate.estimate - near)
    if not reach < abs(estimate.estimate) or runs.share == 0:
        return NAN
    z = float(norm.ppf((1 + level) / 2))
    return float(np.sqrt((estimate.estimate**2 - reach**2) / runs.share)) / z


def run_by_family(arm: Arm) -> tuple[Floats, Floats]:
    """Mean score of each run in each family that every run has: (runs, families), and the families' weights, sum 1."""
    run, run_names = codes("run", arm.run if arm.run is not None else (), len(arm.values))
    family, family_names = codes("family", arm.family, len(arm.values))
    question, question_names = codes("question", arm.question, len(arm.values))
    owner = np.zeros(len(question_names), dtype=np.int64)
    owner[question] = family
    scored = ~np.isnan(arm.values)
    cell, cells = run * len(question_names) + question, len(run_names) * len(question_names)
    sums = totals(np.where(scored, arm.values, 0.0), cell, cells)
    means = quotient(sums, totals(scored.astype(np.float64), cell, cells)).reshape(len(run_names), -1)
    here: Bools = np.asarray(~np.isnan(means).any(axis=0))
    sizes = totals(here.astype(np.float64), owner, len(family_names))
    member = (owner[:, None] == np.arange(len(family_names))).astype(np.float64)
    by_family = np.where(here, means, 0.0) @ member
    full = sizes > 0
    return np.asarray(by_family[:, full] / sizes[full]), np.asarray(sizes[full] / sizes.sum())


def family_gaps(a: Arm, b: Arm) -> tuple[float, int]:
    """Variance of the mean difference from the scatter of families (linearised), and how many families there are."""
    mean_a, questions_a, families = question_means(a.values, a.question, a.family)
    mean_b, questions_b, _ = question_means(b.values, b.question)
    _, in_a, in_b = np.intersect1d(questions_a, questions_b, return_indices=True)
    gaps: Floats = mean_a[in_a] - mean_b[in_b]
    there = ~np.isnan(gaps)
    code, names = codes("family", np.asarray(families)[in_a][there], int(there.sum()))
    count = len(names)
    if count < 2:
        return NAN, count
    rest = totals(np.subtract(gaps[there], float(gaps[there].mean())), code, count)
    return float((rest**2).sum() * count / (count - 1)) / int(there.sum()) ** 2, count
