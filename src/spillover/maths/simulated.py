"""Simulated judged answers with a known truth, for calibrating tests and planning studies.

A question's answers scatter about a latent level that has a part of its family, a part of its own and a part of the
condition (the model that answered); the scale ends at 0 and 100, so that levels beyond the ends tie there. Questions
differ in how much their answers scatter and in how many go unscored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from spillover.maths.arrays import Floats, Ints, quotient
from spillover.maths.runs import Arm

MANY = 400_000  # draws behind a true value: its error is below 0.1 points


@dataclass(frozen=True)
class Population:
    """Where questions come from. Levels and standard deviations are points on the 0-100 scale.

    families: how many.
    per_family: (least, most) questions a family, evenly distributed.
    samples: answers a question and condition.
    level: mean of the latent level.
    family, question, condition: standard deviations of its three parts; a condition moves whole families.
    noise: (least, most) standard deviation of the answers about the level, even over questions.
    missing: the largest share of its answers that a question loses, even over questions and independent of scores.
    """

    families: int = 24
    per_family: tuple[int, int] = (1, 1)
    samples: int = 20
    level: float = 60.0
    family: float = 15.0
    question: float = 10.0
    condition: float = 8.0
    noise: tuple[float, float] = (5.0, 35.0)
    missing: float = 0.3

    def draw(self, rng: np.random.Generator, shifts: tuple[float, ...] = (0.0,)) -> SimulatedAnswers:
        """Fresh questions, answered under one condition for each of `shifts` (points added to the latent level)."""
        sizes = rng.integers(self.per_family[0], self.per_family[1] + 1, self.families)
        family = np.repeat(np.arange(self.families), sizes)
        n = len(family)
        shared = self.level + self.family * rng.normal(size=self.families)[family] + self.question * rng.normal(size=n)
        noise = rng.uniform(*self.noise, n)
        lost = rng.uniform(0, self.missing, n)
        scores = []
        for shift in shifts:
            centre = shared + shift + self.condition * rng.normal(size=self.families)[family]
            answers = np.clip(centre[:, None] + noise[:, None] * rng.normal(size=(n, self.samples)), 0, 100)
            answers[rng.random(answers.shape) < lost[:, None]] = np.nan
            scores.append(answers)
        return SimulatedAnswers(family.astype(np.int64), np.array(scores))

    def mean(self, shift: float = 0.0) -> float:
        """The true mean over questions under a condition."""
        return _moments(self, shift)[0]

    def reliability(self) -> float:
        """True share of the variance of question means (over the answers scored) that is not the answers' scatter."""
        _, between, within = _moments(self, 0.0)
        return between / (between + within)


@dataclass(frozen=True, eq=False)
class SimulatedAnswers:
    """What a study would hold of n questions.

    family: (n,) the family of each question.
    scores: (conditions, n, samples) in [0, 100], NaN where unscored.
    """

    family: Ints
    scores: Floats

    def rows(self, condition: int = 0) -> tuple[Floats, Ints, Ints]:
        """(scores, question, family), one entry an answer."""
        scores = self.scores[condition]
        questions, samples = scores.shape
        return scores.ravel(), np.repeat(np.arange(questions), samples), np.repeat(self.family, samples)

    def means(self, condition: int = 0) -> Floats:
        """Question means (n,) over the scored answers; NaN where there is none."""
        scores = self.scores[condition]
        return quotient(np.nansum(scores, axis=1), (~np.isnan(scores)).sum(axis=1).astype(np.float64))


def simulated_arms(
    rng: np.random.Generator,
    runs: tuple[int, int],
    spread: float,
    shift: float = 0.0,
    questions: int = 40,
    samples: int = 8,
    condition: float = 6.0,
    interaction: float = 3.0,
    noise: float = 20.0,
) -> tuple[Arm, Arm]:
    """Two arms of training runs that answer the same questions; the first lies `shift` points above the second.

    runs: of each arm. spread: standard deviation over runs, points; condition: of what a question gains in the first
    arm; interaction: of runs x questions; noise: of answers. Each question is a family of its own; the scale has no
    ends, so the true difference is `shift`.
    """
    level = 60 + 12 * rng.normal(size=questions)
    gained = shift + condition * rng.normal(size=questions)
    arms = []
    for count, centre in zip(runs, (level + gained, level), strict=True):
        moved = spread * rng.normal(size=(count, 1)) + interaction * rng.normal(size=(count, questions))
        answers = (centre + moved)[:, :, None] + noise * rng.normal(size=(count, questions, samples))
        run, question, _ = np.indices(answers.shape)
        arms.append(Arm(answers.ravel(), question.ravel(), question.ravel(), run.ravel()))
    return arms[0], arms[1]


@lru_cache(maxsize=64)
def _moments(population: Population, shift: float) -> tuple[float, float, float]:
    """Mean over questions; variance of their true means; mean variance of a question mean about its true one."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(population.family**2 + population.question**2 + population.condition**2)
    centre = population.level + shift + spread * rng.normal(size=MANY)
    noise = rng.uniform(*population.noise, MANY)
    first, second = _clipped(centre, noise)
    answered = np.maximum(population.samples * (1 - rng.uniform(0, population.missing, MANY)), 1)
    return float(first.mean()), float(first.var()), float(((second - first**2) / answered).mean())


def _clipped(centre: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """First and second moment of a normal variable clipped to [0, 100]."""
    from scipy.stats import norm

    low, high = (0 - centre) / noise, (100 - centre) / noise
    inside, above = norm.cdf(high) - norm.cdf(low), norm.sf(high)
    at_low, at_high = norm.pdf(low), norm.pdf(high)
    first = centre * inside + noise * (at_low - at_high) + 100 * above
    second = (centre**2 + noise**2) * inside + noise * (centre * at_low - (centre + 100) * at_high) + 1e4 * above
    return np.asarray(first), np.asarray(second)
