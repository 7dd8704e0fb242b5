"""What is calibrated of two-phase judging: a cheap judge that is off by 30 points, and by other amounts another model.

The path is that of a report: the sample is drawn as the judge draws it, pseudo-values are made and resampled as an
analysis does it. Methods marked `naive` are the cheap judge alone, which is as sure of itself as it is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from calibration_checks import Check, Outcome, Rng, held, resampling_of, true_rates

from spillover.analyses.corrected import corrected_columns
from spillover.analyses.scores import AnswerScores, rate_difference
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.maths.arrays import Floats
from spillover.maths.bootstrap import mean_of_groups
from spillover.maths.paired import prior_post
from spillover.maths.probability_sample import stratified_sample
from spillover.maths.simulated import Population, SimulatedAnswers
from spillover.maths.two_phase_questions import NoisyMeans, without_sampling_noise

OFF = -30.0  # points by which the cheap judge misses the bad model; and
OTHER = -10.0  # the good one
SHARE = 0.1
METRICS = ("aligned", "coherent")
POPULATIONS = {
    "8 families of 3": Population(8, (3, 3)),
    "24 questions": Population(24),
    "24 questions near 100": Population(24, level=110.0),
    "80 families of 1 to 6": Population(80, (1, 6)),
    "48 questions of 6": Population(48, samples=6),
}


def two_phase_checks() -> Iterator[Check]:
    """Every check of two-phase judging, always in the same order."""
    for name, population in POPULATIONS.items():
        data = f"{name}, a tenth"
        yield Check("two-phase mean", data, "effect, dynamics", lambda rng, p=population: _mean(rng, p), 200)
        yield Check("two-phase difference", data, "effect, priors", lambda rng, p=population: _difference(rng, p), 200)
        yield Check("two-phase EM rate", data, "effect, dynamics", lambda rng, p=population: _rate(rng, p), 500)
    data = "24 questions, a tenth, cheap judge with r .9"
    yield Check(
        "two-phase mean", data, "effect, dynamics", lambda rng: _mean(rng, POPULATIONS["24 questions"], GOOD), 200
    )
    for name in ("24 questions", "80 families of 1 to 6"):
        population = POPULATIONS[name]
        yield Check("two-phase r", f"{name}, a tenth", "priors", lambda rng, p=population: _relation(rng, p), 100)


@dataclass(frozen=True)
class Cheap:
    """A judge that is off by some points, flatter, and has a mind of its own about questions and answers (SDs)."""

    slope: float = 0.5
    question: float = 10.0
    answer: float = 18.0

    def scores(self, rng: Rng, dear: Floats, question: np.ndarray, off: float) -> Floats:
        """What it gives for answers with these dear scores, points."""
        own = self.question * rng.normal(size=int(question.max()) + 1)[question]
        level = 50 + self.slope * (dear - 50) + off + own
        return np.asarray(np.clip(level + self.answer * rng.normal(size=len(dear)), 0, 100))


POOR, GOOD = Cheap(), Cheap(0.6, 4.0, 7.0)  # r with the dear judge about .45 and .9


def scored(rng: Rng, data: SimulatedAnswers, condition: int, off: float, cheap: Cheap = POOR) -> AnswerScores:
    """The answers under one condition as a report holds them."""
    aligned, question, family = data.rows(condition)
    there = ~np.isnan(aligned)
    coherent = np.where(there, np.clip(75 + 25 * rng.normal(size=len(aligned)), 0, 100), np.nan)
    columns = {"question": question.astype(str), "family": family.astype(str)}
    columns |= {"format": np.full(len(aligned), "raw", dtype=object)}
    for metric, dear, by in (("aligned", aligned, off), ("coherent", coherent, -5.0)):
        columns[metric + CHEAP] = np.where(there, cheap.scores(rng, np.nan_to_num(dear), question, by), np.nan)
    keys = [str(key) for key in rng.integers(1 << 60, size=len(aligned))]
    sample = stratified_sample(columns["question"], columns["aligned" + CHEAP], SHARE, keys, there)
    columns |= {INCLUSION: sample.inclusion, DRAWN: sample.drawn}
    for metric, dear in (("aligned", aligned), ("coherent", coherent)):
        columns[metric + DEAR] = np.where(sample.drawn, dear, np.nan)
    return AnswerScores("a model", corrected_columns(columns, METRICS))


def _mean(rng: Rng, population: Population, judge: Cheap = POOR) -> Outcome:
    scores = scored(rng, population.draw(rng), 0, OFF, judge)
    resampling, truth = resampling_of(rng), population.mean()
    both, cheap = scores.mean("aligned", resampling), scores.cheap_alone().mean("aligned", resampling)
    alone = _sample_alone(scores, resampling)
    return {
        "ours|coverage": held(both, truth),
        "ours|bias": (both.estimate - truth) / 100,
        "dear sample alone|coverage": held(alone, truth),
        "naive, cheap judge alone|coverage": held(cheap, truth),
        "ours|width, of the dear sample's alone": (both.high - both.low) / (alone.high - alone.low),
        "ours|squared error": ((both.estimate - truth) / 100) ** 2,
        "dear sample alone|squared error": ((alone.estimate - truth) / 100) ** 2,
    }


def _sample_alone(scores: AnswerScores, resampling):
    dear = scores["aligned" + DEAR]
    return mean_of_groups(
        dear, scores["question"], scores["family"], resampling=replace(resampling, bounds=(0.0, 100.0))
    )


def _difference(rng: Rng, population: Population) -> Outcome:
    out: Outcome = {}
    for shift, kind in ((0.0, "false positives"), (-8.0, "power at 8 points")):
        data = population.draw(rng, (shift, 0.0))
        bad, good = scored(rng, data, 0, OFF), scored(rng, data, 1, OTHER)
        resampling, truth = resampling_of(rng), population.mean(shift) - population.mean()
        gap = bad.difference(good, "aligned", resampling)
        out[f"ours|{kind}"] = gap.p is not None and gap.p <= 0.05
        out[f"ours|coverage{'' if shift == 0 else ' at 8 points'}"] = held(gap, truth)
        if shift == 0:
            cheap = bad.cheap_alone().difference(good.cheap_alone(), "aligned", resampling)
            out["naive, cheap judge alone|false positives"] = cheap.p is not None and cheap.p <= 0.05
    return out


def _rate(rng: Rng, population: Population) -> Outcome:
    worse = replace(population, level=population.level - 10)
    strict, conditional = true_rates(worse)
    data = worse.draw(rng, (0.0, 0.0))
    bad, good = scored(rng, data, 0, OFF), scored(rng, data, 1, OTHER)
    resampling = resampling_of(rng)
    rate, gap = bad.em_rates(resampling), rate_difference(bad, good, resampling)
    cheap = bad.cheap_alone().em_rates(resampling)
    return {
        "ours, strict|coverage": held(rate.strict, strict),
        "ours, conditional|coverage": held(rate.conditional, conditional),
        "naive, cheap judge alone, strict|coverage": held(cheap.strict, strict),
        "ours, difference|false positives": gap.p is not None and gap.p <= 0.05,
        "ours, difference|coverage": held(gap, 0.0),
    }


def _relation(rng: Rng, population: Population) -> Outcome:
    data = population.draw(rng, (0.0, -8.0))
    families = data.family
    names = [str(index) for index in range(len(families))]
    sides = [scored(rng, data, index, off) for index, off in enumerate((OTHER, OFF))]
    resampling = resampling_of(rng, draws=499)
    noisy = []
    for side in sides:
        predicted = side.predictions("aligned", names)
        noisy.append(NoisyMeans(side.means("aligned", names), predicted.noise, predicted.scatter))
    plain = prior_post(noisy[0].means, noisy[1].means, families, resampling)
    full = prior_post(data.means(0), data.means(1), families, resampling)
    ours = without_sampling_noise(plain, *noisy)
    r, usable = ours.r, np.isfinite(ours.slope) and np.isfinite(ours.r.estimate)
    return {
        "ours, slope|mean error": (ours.slope - full.slope) if usable else None,
        "naive, slope of noisy means|mean error": plain.slope - full.slope,
        "ours, r|mean error": (r.estimate - full.r.estimate) if usable else None,
        "ours, r|own coverage": (full.r.estimate, r.low, r.high) if usable else None,
    }
