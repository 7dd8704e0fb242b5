"""Simulated answers to questions of unequal families, for tests of what resamples families."""

from typing import Any

import numpy as np


def answers(rng: np.random.Generator, families: int, centre: float = 80.0, samples: int = 10) -> tuple[Any, Any, Any]:
    """Scores clipped at 0 and 100 of 1-4 questions a family, alike within family and question."""
    sizes = rng.integers(1, 5, families)
    family = np.repeat(np.arange(families), sizes)
    level = centre + 20 * rng.normal(size=families)[family] + 20 * rng.normal(size=len(family))
    scores = np.clip(level[:, None] + 25 * rng.normal(size=(len(family), samples)), 0, 100)
    question = np.repeat(np.arange(len(family)), samples)
    return scores.ravel(), question, family[question]
