"""Correlation over runs whose scores are means over questions. Knows x a run and a runs x questions matrix.

Both runs and questions are samples. Questions that respond to x each in their own way make an interval over
runs alone far too narrow. Share of 95% intervals that held the truth, 1,000 simulations each, where the
questions' slopes spread by 0 / 1 / 3 times their mean (tests/maths/coverage_tables.py):

    runs, questions   runs alone     questions alone   both
    12, 24            96 / 93 / 74   56 / 75 / 88      98 / 98 / 96
    35, 24            94 / 81 / 48   56 / 88 / 91      97 / 97 / 93
    35, 8             95 / 71 / 32   78 / 94 / 87      100 / 98 / 90
    16, 200           96 / 94 / 90   22 / 39 / 76      96 / 95 / 96
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spillover.maths.arrays import Floats, codes, matrix, vector
from spillover.maths.bootstrap import DEFAULT, Resampling
from spillover.maths.correlation import pearson
from spillover.maths.estimate import Estimate
from spillover.maths.fisher import jackknife_error, z_interval


@dataclass(frozen=True)
class RunsCorrelation:
    """One correlation with three intervals: what is resampled is what the claim reaches beyond.

    both: new runs and new questions. runs: new runs, these questions. questions: these runs, new questions. n
    is the number of rows throughout (runs, or checkpoints of runs); p of `runs` is a permutation of runs (these
    questions), a t test where a run has several rows; of `both` and `questions` a t test on the interval's own error.
    n_questions: columns used.
    """

    both: Estimate
    runs: Estimate
    questions: Estimate
    n_questions: int


def correlation_over_runs(
    x: ArrayLike,
    y: ArrayLike,
    family: Any = None,
    log: bool = True,
    how: Resampling = DEFAULT,
    run: Any = None,
) -> RunsCorrelation:
    """Pearson r of log(x) (x itself with log=False) with each run's mean over questions.

    x (R,); y (R, Q) question means, NaN where unscored; family (Q,) labels resampled as questions. A question
    not scored in every used run is left out, so that all runs are means over the same questions; a run
    without x, or without any score, is left out before. Interval `both`: Fisher's z with the sum of the two
    jackknife variances (a little wide: the run-by-question part is in both), t on the lesser of the two
    counts - 2. run (R,) labels rows that are checkpoints of one run: whole runs are resampled then, and counted.
    """
    a = vector("x", x)
    scores = matrix("y", y, missing=True)
    if len(scores) != len(a):
        raise ValueError(f"y must have one row a run: {len(a)} runs in x, {len(scores)} rows in y; transpose it?")
    if log and (a[~np.isnan(a)] <= 0).any():
        raise ValueError(f"log needs x > 0, got {np.nanmin(a):g}; pass log=False to correlate x itself")
    labels = np.arange(scores.shape[1]) if family is None else np.asarray(family)
    code, _ = codes("family", labels, scores.shape[1])
    keep = ~np.isnan(a) & ~np.isnan(scores).all(axis=1)
    owner, _ = codes("run", np.arange(len(a)) if run is None else np.asarray(run), len(a))
    a, scores, owner = np.log(a[keep]) if log else a[keep], scores[keep], owner[keep]
    whole = ~np.isnan(scores).any(axis=0)
    scores, code = scores[:, whole], code[whole]
    if scores.size == 0:
        none = Estimate.missing(len(a), tested=True)
        return RunsCorrelation(none, none, none, 0)
    level = scores.mean(axis=1)
    members = np.unique(owner)
    runs = pearson(a, level, None if len(members) == len(a) else owner, how)
    left = [_plain(a[owner != one], level[owner != one]) for one in members] if len(members) > 1 else []
    error_runs = jackknife_error(np.array(left))
    families = np.unique(code)
    without = [scores[:, code != one].mean(axis=1) for one in families] if len(families) > 1 else []
    error_questions = jackknife_error(np.array([_plain(a, kept) for kept in without]))
    low, high, p = z_interval(runs.estimate, error_questions, len(families) - 2, how.level)
    questions = replace(runs, low=low, high=high, p=p)
    error, freedom = float(np.hypot(error_runs, error_questions)), min(len(members), len(families)) - 2
    low, high, p = z_interval(runs.estimate, error, freedom, how.level)
    return RunsCorrelation(replace(runs, low=low, high=high, p=p), runs, questions, scores.shape[1])


def _plain(x: Floats, y: Floats) -> float:
    """Pearson r; NaN where a side does not vary."""
    a, b = x - x.mean(), y - y.mean()
    bottom = float(np.linalg.norm(a) * np.linalg.norm(b))
    nothing = 1e-10 * float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.clip(a @ b / bottom, -1.0, 1.0)) if bottom > nothing else float("nan")
