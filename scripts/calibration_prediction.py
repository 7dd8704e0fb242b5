"""Simulations of what is predicted from activations, and of many layers at once; see `calibration_checks`."""

from __future__ import annotations

from typing import Any

import numpy as np
from calibration_measures import Outcome, Rng, seed_of
from scipy import stats

from spillover.maths.cross_validation import corrected_difference, cross_validate, grouped_folds, permutation_test
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import max_t
from spillover.maths.permutation import permutations
from spillover.maths.regression import Ridge


def r2(rng: Rng, n: int) -> Outcome:
    """Intervals of R2 and of a gain in it, where folds overlap."""
    x = rng.normal(size=(n, 24))
    y = x[:, :3].sum(axis=1) + 2 * rng.normal(size=n)
    folds = grouped_folds(np.arange(n), 5, 4, seed_of(rng))
    one, other, empty = (
        cross_validate(side, target, folds, Ridge((10.0,)))
        for side, target in (
            (x + rng.normal(size=x.shape), y),
            (x + rng.normal(size=x.shape), y),
            (x, rng.permutation(y)),
        )
    )
    score, scores = one.score(), one.r2[0].ravel()
    reach = float(stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores)))
    gap = corrected_difference(one.r2[0], other.r2[0], one.test_share)
    plain = stats.ttest_1samp((one.r2[0] - other.r2[0]).ravel(), 0.0).pvalue
    gain = empty.gain()
    return {
        "ours, Nadeau-Bengio|own coverage": (score.estimate, score.low, score.high),
        "naive, folds as independent|own coverage": (score.estimate, score.estimate - reach, score.estimate + reach),
        "ours, two feature sets|false positives": gap.p is not None and gap.p <= 0.05,
        "naive, two feature sets|false positives": bool(plain <= 0.05),
        "ours, better than the mean|false positives": bool(gain.estimate > 0 and (gain.p or 1) <= 0.05),
    }


def foresight(rng: Rng) -> Outcome:
    """Families share activations and scores by chance: what looks like foresight where near variants cross folds."""
    family = np.repeat(np.arange(24), 3)
    x = rng.normal(size=(24, 30))[family] + 0.3 * rng.normal(size=(72, 30))
    y = rng.normal(size=24)[family] + 0.5 * rng.normal(size=72)
    real = y + 0.4 * x[:, :4].sum(axis=1)
    folds, loose = grouped_folds(family, 5, 2, seed_of(rng)), grouped_folds(np.arange(72), 5, 2, seed_of(rng))
    resampling, model = Resampling(99, seed=seed_of(rng)), Ridge(inner="gcv")
    return {
        "ours|false positives": permutation_test(x, y, folds, model, family, resampling)[1][0] <= 0.05,
        "ours|power": permutation_test(x, real, folds, model, family, resampling)[1][0] <= 0.05,
        "published, questions cross folds and change places alone|false positives": permutation_test(
            x, y, loose, model, None, resampling
        )[1][0]
        <= 0.05,
    }


def layers(rng: Rng) -> Outcome:
    """Correlation of each layer's overlap with shift similarity; layers resemble their neighbours."""
    family = np.repeat(np.arange(24), 3)
    walk = np.cumsum(rng.normal(size=(20, 24)), axis=0)[:, family] + rng.normal(size=(20, 72))
    y = rng.normal(size=24)[family] + 0.5 * rng.normal(size=72)
    real = y + 0.8 * (walk[10] - walk[10].mean()) / walk[10].std()
    orders, loose = permutations(72, 199, seed_of(rng), family), permutations(72, 199, seed_of(rng))
    z = (walk - walk.mean(axis=1, keepdims=True)) / walk.std(axis=1, keepdims=True)

    def tested(target: Any, rows: Any) -> Any:
        one = (target - target.mean()) / target.std()
        return max_t(z @ one / 72, one[rows] @ z.T / 72)

    alone = [stats.pearsonr(layer, y).pvalue for layer in walk]
    return {
        "ours, any layer by max-T|false positives": bool((tested(y, orders) <= 0.05).any()),
        "ours, any layer by max-T|power": bool((tested(real, orders) <= 0.05).any()),
        "naive, max-T over single questions|false positives": bool((tested(y, loose) <= 0.05).any()),
        "published, best layer uncorrected|false positives": min(alone) <= 0.05,
    }
