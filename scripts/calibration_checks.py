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
from calibration_measures import Outcome, Rng, held, held_by_t, how_of, seed_of
from calibration_prediction import foresight, layers, r2
from scipy import stats

from spillover.analyses.effect import _paired_t
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.correlation import correlation_over_runs, partial, pearson, spearman
from spillover.maths.dynamics import max_diff
from spillover.maths.em_rate import em_indicator, em_rate
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.paired import difference, prior_post
from spillover.maths.reliability import split_half
from spillover.maths.simulated import Population

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
    for name, one in POPULATIONS.items():
        yield Check("mean", name, "effect, dynamics", lambda rng, p=one: _mean(rng, p))
        yield Check("difference of means", name, "effect, priors", lambda rng, p=one: _difference(rng, p))
        yield Check("before against after", name, "priors", lambda rng, p=one: _paired(rng, p), 600)
        yield Check("EM rate", name, "effect, dynamics", lambda rng, p=one: _rate(rng, p), 600)
    for samples in (4, 12, 24):
        one = Population(1, (1, 1), samples, condition=0.0, missing=0.2)
        yield Check("one question", f"{samples} answers", "effect", lambda rng, p=one: _question(rng, p))
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
        one = replace(POPULATIONS[name], samples=8)
        yield Check("noise ceiling", f"{name}, 8 answers", "priors", lambda rng, p=one: _ceiling(rng, p), 200)
    for n in (72, 320):
        yield Check("R2", f"{n} questions", "prediction", lambda rng, m=n: r2(rng, m), 300)
    yield Check("foresight", "24 families of 3", "prediction", foresight, 300)
    yield Check("many layers", "24 families of 3, 20 layers", "prediction, geometry", layers, 1000)
    yield Check("many tests", "20 tests, 5 true, correlated", "effect, priors", _many)


def _mean(rng: Rng, population: Population) -> Outcome:
    scores, question, family = population.draw(rng).rows()
    found = mean_of_groups(scores, question, family, resampling=how_of(rng, POINTS))
    return {
        "ours|coverage": held(found, population.mean()),
        "naive, answers as independent|coverage": held_by_t(scores, population.mean()),
    }


def _difference(rng: Rng, population: Population) -> Outcome:
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-8.0, "power at 8 points")):
        data = population.draw(rng, (shift, 0.0))
        a, question, family = data.rows(0)
        b = data.rows(1)[0]
        found = difference(a, b, question, question, family, how_of(rng, POINTS))
        out[f"ours|{kind}"] = found.p is not None and found.p <= 0.05
        out[f"ours|coverage{'' if shift == 0 else ' at 8 points'}"] = held(
            found, population.mean(shift) - population.mean()
        )
        if shift == 0:
            out["naive, answers as independent|false positives"] = bool(
                stats.ttest_ind(a[~np.isnan(a)], b[~np.isnan(b)]).pvalue <= 0.05
            )
    return out


def _paired(rng: Rng, population: Population) -> Outcome:
    data = population.draw(rng, (0.0, 0.0, -8.0))
    a, b, moved = (data.means(index) for index in range(3))
    null, real = (prior_post(a, other, data.family, how_of(rng, POINTS, 499)) for other in (b, moved))
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
    strict, conditional = _true_rates(worse)
    data = worse.draw(rng, (0.0, 0.0))
    coherent = np.clip(75 + 25 * rng.normal(size=data.scores[0].shape), 0, 100)
    aligned, question, family = data.rows(0)
    found = em_rate(aligned, coherent.ravel(), question, family, resampling=how_of(rng))
    other = np.clip(75 + 25 * rng.normal(size=coherent.shape), 0, 100).ravel()
    left, right = em_indicator(aligned, coherent.ravel()), em_indicator(data.rows(1)[0], other)
    gap = difference(left, right, question, question, family, how_of(rng, (0.0, 1.0)))
    return {
        "ours, strict|coverage": held(found.strict, strict),
        "ours, conditional|coverage": held(found.conditional, conditional),
        "ours, difference|false positives": gap.p is not None and gap.p <= 0.05,
        "ours, difference|coverage": held(gap, 0.0),
    }


@lru_cache(maxsize=16)
def _true_rates(population: Population) -> tuple[float, float]:
    big = replace(population, families=200_000, per_family=(1, 1), samples=1, missing=0.0)
    aligned = big.draw(np.random.default_rng(0)).scores[0].ravel()
    share = float(stats.norm.sf((50 - 75) / 25))
    return float((aligned < 30).mean() * share), float((aligned < 30).mean())


def _question(rng: Rng, population: Population) -> Outcome:
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-20.0, "power at 20 points")):
        scores = population.draw(rng, (shift, 0.0)).scores[:, 0]
        cells = np.arange(population.samples).astype(str)
        found = _paired_t(scores[0], scores[1], cells, cells, 0.95)
        made = found.p is not None and not np.isnan(found.p)
        out[f"ours|{kind}"] = found.p <= 0.05 if made and found.p is not None else None
    return out


def _over(rng: Rng, families: int, size: tuple[int, int]) -> Outcome:
    out: Outcome = {}
    for rho, kind in ((0.0, "false positives"), (0.5, "power at r 0.5")):
        x, y, family = _pair(rng, rho, families, size)
        groups = family if size != (1, 1) else None
        found, ranks = (one(x, y, groups, how_of(rng, draws=499)) for one in (pearson, spearman))
        for name, estimate in (("ours, Pearson", found), ("ours, Spearman", ranks)):
            out[f"{name}|{kind}"] = None if np.isnan(estimate.p) else estimate.p <= 0.05
        out[f"published, Pearson over questions|{kind}"] = bool(stats.pearsonr(x, y).pvalue <= 0.05)
        out[f"ours, Pearson|coverage at r {rho:g}"] = held(found, _true_r(rho))
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
    found = partial(
        x + 40 * length, y + 40 * length, length, family if size != (1, 1) else None, how_of(rng, draws=499)
    )
    real = partial(x + 40 * length, 0.6 * x + y + 40 * length, length, family, how_of(rng, draws=499))
    return {
        "ours|false positives": None if np.isnan(found.p) else found.p <= 0.05,
        "ours|coverage": held(found, 0.0),
        "ours|power at slope 0.6": None if np.isnan(real.p) else real.p <= 0.05,
    }


def _runs(rng: Rng, runs: int, questions: int) -> Outcome:
    x = rng.normal(size=runs)
    noise = 5 * rng.normal(size=questions) + rng.normal(size=(runs, questions)) + 0.5 * rng.normal(size=(runs, 1))
    slopes = 1 + rng.normal(size=questions)
    null = correlation_over_runs(x, noise, log=False, resampling=how_of(rng, draws=499))
    real = correlation_over_runs(x, slopes * x[:, None] + noise, log=False, resampling=how_of(rng, draws=99))
    rank = spearman(x, noise.mean(axis=1), resampling=how_of(rng, draws=499))
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
    null, real = (max_diff(x, one, se, how_of(rng)) for one in (y, lifted))
    return {"ours|false positives": null.p <= 0.05, "ours|power at 5 standard errors": real.p <= 0.05}


def _ceiling(rng: Rng, population: Population) -> Outcome:
    found = split_half(population.draw(rng).scores[0], Resampling(99, seed=seed_of(rng)))
    return {"ours, reliability|bias": found.value - population.reliability()}


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
