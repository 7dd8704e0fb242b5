"""What is calibrated: one simulation with known truth for every test and interval that a report prints.

A simulation returns outcomes by name, "method|kind". Kinds: `false positives` (a rejection at 5% where nothing is),
`power` (where something is), `coverage` (an interval that holds the truth), `bias` (estimate less truth), `false
discoveries` (their share among the calls), and `own coverage`, (estimate, low, high) of which the truth is the mean
estimate. None: the method gave no answer. Methods marked `published` or `naive` are shown for what they do wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

from spillover.analyses.effect import paired_cells
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.correlation import correlation_over_runs, partial, pearson, spearman
from spillover.maths.cross_validation import corrected_difference, cross_validate, grouped_folds, permutation_test
from spillover.maths.dynamics import max_diff
from spillover.maths.em_rate import em_indicator, em_rate
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.multiplicity import benjamini_hochberg, max_t
from spillover.maths.paired import difference, prior_post
from spillover.maths.permutation import permutations
from spillover.maths.regression import Ridge
from spillover.maths.reliability import split_half
from spillover.maths.runs import difference_of_arms
from spillover.maths.simulated import Population, simulated_arms

Outcome = dict[str, Any]
Rng = np.random.Generator
POINTS = (0.0, 100.0)
POPULATIONS = {
    "8 families of 3": Population(8, (3, 3)),
    "24 questions": Population(24),
    "24 questions near 100": Population(24, level=110.0),
    "80 families of 1 to 6": Population(80, (1, 6)),
    "24 families of 3, ties": Population(24, (3, 3), level=85.0, family=45.0, question=20.0, condition=25.0),
}


@dataclass(frozen=True)
class Check:
    """One simulation, repeated `rounds` times; `shown`: where a report prints what is checked."""

    name: str
    data: str
    shown: str
    simulate: Callable[[Rng], Outcome]
    rounds: int = 1000


def checks() -> Iterator[Check]:
    """Every check, always in the same order."""
    for name, population in POPULATIONS.items():
        yield Check("mean", name, "effect, dynamics", lambda rng, p=population: _mean(rng, p))
        yield Check("difference of means", name, "effect, priors", lambda rng, p=population: _difference(rng, p))
        yield Check("before against after", name, "priors", lambda rng, p=population: _paired(rng, p), 600)
        yield Check("EM rate", name, "effect, dynamics", lambda rng, p=population: _rate(rng, p), 600)
    for runs in (2, 3, 5, 10):
        for spread in (0.0, 2.0, 4.0):
            data = f"{runs} runs an arm, SD over runs {spread:g}"
            yield Check("difference of arms", data, "effect", lambda rng, r=runs, s=spread: _arms(rng, (r, r), s), 1000)
    yield Check("difference of arms", "3 runs against 1, SD over runs 2", "effect", lambda rng: _arms(rng, (3, 1), 2.0))
    for samples in (4, 12, 24):
        population = Population(1, (1, 1), samples, condition=0.0, missing=0.2)
        yield Check("one question", f"{samples} answers", "effect", lambda rng, p=population: _question(rng, p))
    for families, size in ((8, (3, 3)), (24, (3, 3)), (80, (1, 6)), (24, (1, 1))):
        data = f"{families} families of {size[0] if size[0] == size[1] else f'{size[0]} to {size[1]}'}"
        yield Check(
            "r over questions", data, "priors, geometry", lambda rng, f=families, s=size: _over(rng, f, s), 1000
        )
        yield Check("partial r", data, "geometry", lambda rng, f=families, s=size: _partial(rng, f, s), 600)
    for runs, questions in ((12, 24), (35, 24)):
        data = f"{runs} runs, {questions} questions"
        yield Check("r over runs", data, "dynamics", lambda rng, r=runs, q=questions: _runs(rng, r, q), 600)
    for shape in ("flat", "slope", "step"):
        yield Check("max_diff", f"35 runs, {shape}", "dynamics", lambda rng, s=shape: _max_diff(rng, s), 1000)
    for name in ("24 questions", "80 families of 1 to 6", "24 families of 3, ties"):
        population = replace(POPULATIONS[name], samples=8)
        yield Check("noise ceiling", f"{name}, 8 answers", "priors", lambda rng, p=population: _ceiling(rng, p), 200)
    for n in (72, 320):
        yield Check("R2", f"{n} questions", "prediction", lambda rng, m=n: _r2(rng, m), 300)
    yield Check("foresight", "24 families of 3", "prediction", _foresight, 300)
    yield Check("many layers", "24 families of 3, 20 layers", "prediction, geometry", _layers, 1000)
    yield Check("many tests", "20 tests, 5 true, correlated", "effect, priors", _many)


def _mean(rng: Rng, population: Population) -> Outcome:
    scores, question, family = population.draw(rng).rows()
    estimate = mean_of_groups(scores, question, family, resampling=resampling_of(rng, POINTS))
    return {
        "ours|coverage": held(estimate, population.mean()),
        "naive, answers as independent|coverage": held_by_t(scores, population.mean()),
    }


def _difference(rng: Rng, population: Population) -> Outcome:
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-8.0, "power at 8 points")):
        data = population.draw(rng, (shift, 0.0))
        a, question, family = data.rows(0)
        b = data.rows(1)[0]
        gap = difference(a, b, question, question, family, resampling_of(rng, POINTS))
        out[f"ours|{kind}"] = gap.p is not None and gap.p <= 0.05
        out[f"ours|coverage{'' if shift == 0 else ' at 8 points'}"] = held(
            gap, population.mean(shift) - population.mean()
        )
        if shift == 0:
            out["naive, answers as independent|false positives"] = bool(
                stats.ttest_ind(a[~np.isnan(a)], b[~np.isnan(b)]).pvalue <= 0.05
            )
    return out


def _arms(rng: Rng, runs: tuple[int, int], spread: float) -> Outcome:
    """Two arms of training runs on 40 questions, 8 answers each, no difference and one of 8 points between them."""
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-8.0, "power at 8 points")):
        a, b = simulated_arms(rng, runs, spread, shift)
        gap = difference_of_arms(a, b, resampling_of(rng))
        alone = difference(a.values, b.values, a.question, b.question, a.family, resampling_of(rng))
        out[f"ours, runs and questions|{kind}"] = gap.p is not None and gap.p <= 0.05
        out[f"naive, questions alone|{kind}"] = alone.p is not None and alone.p <= 0.05
        if shift == 0:
            out["ours, runs and questions|coverage"] = held(gap, shift)
            out["naive, questions alone|coverage"] = held(alone, shift)
    return out


def _paired(rng: Rng, population: Population) -> Outcome:
    data = population.draw(rng, (0.0, 0.0, -8.0))
    a, b, moved = (data.means(index) for index in range(3))
    null, real = (prior_post(a, other, data.family, resampling_of(rng, POINTS, 499)) for other in (b, moved))
    return {
        "ours, Wilcoxon by family|false positives": null.wilcoxon_family_p <= 0.05,
        "ours, Wilcoxon by family|power at 8 points": real.wilcoxon_family_p <= 0.05,
        "published, Wilcoxon|false positives": null.wilcoxon_p <= 0.05,
        "ours, KS by family|false positives": null.ks_family_p <= 0.05,
        "ours, KS by family|power at 8 points": real.ks_family_p <= 0.05,
        "published, KS|false positives": null.ks_p <= 0.05,
        "published, KS|power at 8 points": real.ks_p <= 0.05,
    }


def _rate(rng: Rng, population: Population) -> Outcome:
    worse = replace(population, level=population.level - 10)
    strict, conditional = true_rates(worse)
    data = worse.draw(rng, (0.0, 0.0))
    coherent = np.clip(75 + 25 * rng.normal(size=data.scores[0].shape), 0, 100)
    aligned, question, family = data.rows(0)
    rate = em_rate(aligned, coherent.ravel(), question, family, resampling=resampling_of(rng))
    other = np.clip(75 + 25 * rng.normal(size=coherent.shape), 0, 100).ravel()
    left, right = em_indicator(aligned, coherent.ravel()), em_indicator(data.rows(1)[0], other)
    gap = difference(left, right, question, question, family, resampling_of(rng, (0.0, 1.0)))
    return {
        "ours, strict|coverage": held(rate.strict, strict),
        "ours, conditional|coverage": held(rate.conditional, conditional),
        "ours, difference|false positives": gap.p is not None and gap.p <= 0.05,
        "ours, difference|coverage": held(gap, 0.0),
    }


@lru_cache(maxsize=16)
def true_rates(population: Population) -> tuple[float, float]:
    big = replace(population, families=200_000, per_family=(1, 1), samples=1, missing=0.0)
    aligned = big.draw(np.random.default_rng(0)).scores[0].ravel()
    share = float(stats.norm.sf((50 - 75) / 25))
    return float((aligned < 30).mean() * share), float((aligned < 30).mean())


def _question(rng: Rng, population: Population) -> Outcome:
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-20.0, "power at 20 points")):
        scores = population.draw(rng, (shift, 0.0)).scores[:, 0]
        cells = np.arange(population.samples).astype(str)
        gap = paired_cells(scores[0], scores[1], cells, cells, 0.95)
        made = gap.p is not None and not np.isnan(gap.p)
        out[f"ours|{kind}"] = gap.p <= 0.05 if made and gap.p is not None else None
    return out


def _over(rng: Rng, families: int, size: tuple[int, int]) -> Outcome:
    out: Outcome = {}
    for rho, kind in ((0.0, "false positives"), (0.5, "power at r 0.5")):
        x, y, family = _pair(rng, rho, families, size)
        groups = family if size != (1, 1) else None
        r, rank_r = (correlation(x, y, groups, resampling_of(rng, draws=499)) for correlation in (pearson, spearman))
        for name, estimate in (("ours, Pearson", r), ("ours, Spearman", rank_r)):
            out[f"{name}|{kind}"] = None if np.isnan(estimate.p) else estimate.p <= 0.05
        out[f"published, Pearson over questions|{kind}"] = bool(stats.pearsonr(x, y).pvalue <= 0.05)
        out[f"ours, Pearson|coverage at r {rho:g}"] = held(r, _true_r(rho))
    return out


def _pair(rng: Rng, rho: float, families: int, size: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Two scores a question, clipped at 0 and 100; half of the variance is the family's."""
    family = np.repeat(np.arange(families), rng.integers(size[0], size[1] + 1, families))
    sides = []
    for parts in (families, len(family)):
        x = rng.normal(size=parts)
        sides.append((x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=parts)))
    x, y = (np.sqrt(0.5) * (shared[family] + own) for shared, own in zip(*sides, strict=True))
    return np.clip(75 + 30 * x, 0, 100), np.clip(60 + 30 * y, 0, 100), family


@lru_cache(maxsize=4)
def _true_r(rho: float) -> float:
    x, y, _ = _pair(np.random.default_rng(0), rho, 1_000_000, (1, 1))
    return float(np.corrcoef(x, y)[0, 1])


def _partial(rng: Rng, families: int, size: tuple[int, int]) -> Outcome:
    """x and y both go with a covariate (prompt length), with each other only through it."""
    x, y, family = _pair(rng, 0.0, families, size)
    length = np.repeat(rng.normal(size=families), np.bincount(family, minlength=families))
    null = partial(
        x + 40 * length, y + 40 * length, length, family if size != (1, 1) else None, resampling_of(rng, draws=499)
    )
    real = partial(x + 40 * length, 0.6 * x + y + 40 * length, length, family, resampling_of(rng, draws=499))
    return {
        "ours|false positives": None if np.isnan(null.p) else null.p <= 0.05,
        "ours|coverage": held(null, 0.0),
        "ours|power at slope 0.6": None if np.isnan(real.p) else real.p <= 0.05,
    }


def _runs(rng: Rng, runs: int, questions: int) -> Outcome:
    x = rng.normal(size=runs)
    noise = 5 * rng.normal(size=questions) + rng.normal(size=(runs, questions)) + 0.5 * rng.normal(size=(runs, 1))
    slopes = 1 + rng.normal(size=questions)
    null = correlation_over_runs(x, noise, log=False, resampling=resampling_of(rng, draws=499))
    real = correlation_over_runs(x, slopes * x[:, None] + noise, log=False, resampling=resampling_of(rng, draws=99))
    rank = spearman(x, noise.mean(axis=1), resampling=resampling_of(rng, draws=499))
    truth = 1 / np.sqrt(1 + 0.25 + 1 / questions)
    return {
        "ours, Pearson|false positives": null.both.p <= 0.05,
        "ours, Spearman|false positives": rank.p <= 0.05,
        "ours, runs and questions|coverage": held(real.both, truth),
        "naive, runs alone|coverage": held(real.runs, truth),
    }


def _max_diff(rng: Rng, shape: str) -> Outcome:
    x = rng.normal(size=35)
    truth = {"flat": 0 * x, "slope": 5 * x, "step": 10.0 * (x > 0)}[shape]
    se = np.full(35, 1.5)
    y = truth + se * rng.normal(size=35)
    lifted = y.copy()
    lifted[np.argsort(x)[8]] += 5 * 1.5
    null, real = (max_diff(x, scores, se, resampling_of(rng)) for scores in (y, lifted))
    return {"ours|false positives": null.p <= 0.05, "ours|power at 5 standard errors": real.p <= 0.05}


def _ceiling(rng: Rng, population: Population) -> Outcome:
    reliability = split_half(population.draw(rng).scores[0], Resampling(99, seed=seed_of(rng)))
    return {"ours, reliability|bias": reliability.value - population.reliability()}


def _many(rng: Rng) -> Outcome:
    z = np.sqrt(0.5) * rng.normal() + np.sqrt(0.5) * rng.normal(size=20)
    z[:5] += 3
    p = 2 * stats.norm.sf(np.abs(z))
    called, plain = benjamini_hochberg(p) <= 0.05, p <= 0.05
    return {
        "ours, Benjamini-Hochberg|false discoveries": float(called[5:].sum() / max(called.sum(), 1)),
        "published, uncorrected|false discoveries": float(plain[5:].sum() / max(plain.sum(), 1)),
        "ours, Benjamini-Hochberg|power": float(called[:5].mean()),
    }


def _r2(rng: Rng, n: int) -> Outcome:
    """Intervals of R2 and of a gain in it, where folds overlap."""
    x = rng.normal(size=(n, 24))
    y = x[:, :3].sum(axis=1) + 2 * rng.normal(size=n)
    folds = grouped_folds(np.arange(n), 5, 4, seed_of(rng))
    fit, rival, empty = (
        cross_validate(side, target, folds, Ridge((10.0,)))
        for side, target in (
            (x + rng.normal(size=x.shape), y),
            (x + rng.normal(size=x.shape), y),
            (x, rng.permutation(y)),
        )
    )
    score, scores = fit.score(), fit.r2[0].ravel()
    reach = float(stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores)))
    gap = corrected_difference(fit.r2[0], rival.r2[0], fit.test_share)
    plain = stats.ttest_1samp((fit.r2[0] - rival.r2[0]).ravel(), 0.0).pvalue
    gain = empty.gain()
    return {
        "ours, Nadeau-Bengio|own coverage": (score.estimate, score.low, score.high),
        "naive, folds as independent|own coverage": (score.estimate, score.estimate - reach, score.estimate + reach),
        "ours, two feature sets|false positives": gap.p is not None and gap.p <= 0.05,
        "naive, two feature sets|false positives": bool(plain <= 0.05),
        "ours, better than the mean|false positives": bool(gain.estimate > 0 and (gain.p or 1) <= 0.05),
    }


def _foresight(rng: Rng) -> Outcome:
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


def _layers(rng: Rng) -> Outcome:
    """Correlation of each layer's overlap with shift similarity; layers resemble their neighbours."""
    family = np.repeat(np.arange(24), 3)
    walk = np.cumsum(rng.normal(size=(20, 24)), axis=0)[:, family] + rng.normal(size=(20, 72))
    y = rng.normal(size=24)[family] + 0.5 * rng.normal(size=72)
    real = y + 0.8 * (walk[10] - walk[10].mean()) / walk[10].std()
    orders, loose = permutations(72, 199, seed_of(rng), family), permutations(72, 199, seed_of(rng))
    z = (walk - walk.mean(axis=1, keepdims=True)) / walk.std(axis=1, keepdims=True)

    def tested(target: Any, rows: Any) -> Any:
        standard = (target - target.mean()) / target.std()
        return max_t(z @ standard / 72, standard[rows] @ z.T / 72)

    alone = [stats.pearsonr(layer, y).pvalue for layer in walk]
    return {
        "ours, any layer by max-T|false positives": bool((tested(y, orders) <= 0.05).any()),
        "ours, any layer by max-T|power": bool((tested(real, orders) <= 0.05).any()),
        "naive, max-T over single questions|false positives": bool((tested(y, loose) <= 0.05).any()),
        "published, best layer uncorrected|false positives": min(alone) <= 0.05,
    }


def held(estimate: Estimate, truth: float) -> bool | None:
    """Whether an estimate's interval holds the truth; None where it has none."""
    if np.isnan(estimate.low) or np.isnan(estimate.high):
        return None
    return bool(estimate.low <= truth <= estimate.high)


def held_by_t(values: Floats, truth: float) -> bool:
    """The same for Student's interval over all values that are not missing."""
    present = values[~np.isnan(values)]
    reach = float(stats.t.ppf(0.975, len(present) - 1) * present.std(ddof=1) / np.sqrt(len(present)))
    return bool(abs(present.mean() - truth) <= reach)


def seed_of(rng: Rng) -> int:
    """A seed for what draws by itself."""
    return int(rng.integers(2**31))


def resampling_of(rng: Rng, bounds: tuple[float, float] | None = None, draws: int = 999) -> Resampling:
    """How an estimate is resampled, with a seed of its own."""
    return Resampling(draws, seed=seed_of(rng), bounds=bounds)
