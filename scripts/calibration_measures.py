"""What simulations of the calibration share: seeds, and whether an interval held the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from spillover.maths.estimate import Resampling

Outcome = dict[str, Any]
Rng = np.random.Generator


def held(found: Any, truth: float) -> bool | None:
    """Whether an estimate's interval holds the truth; None where it has none."""
    return None if np.isnan(found.low) or np.isnan(found.high) else bool(found.low <= truth <= found.high)


def held_by_t(values: Any, truth: float) -> bool:
    """The same for Student's interval over all values."""
    kept = values[~np.isnan(values)]
    reach = float(stats.t.ppf(0.975, len(kept) - 1) * kept.std(ddof=1) / np.sqrt(len(kept)))
    return bool(abs(kept.mean() - truth) <= reach)


def seed_of(rng: Rng) -> int:
    """A seed for what draws by itself."""
    return int(rng.integers(2**31))


def how_of(rng: Rng, bounds: tuple[float, float] | None = None, draws: int = 999) -> Resampling:
    """How an estimate is resampled, with a seed of its own."""
    return Resampling(draws, seed=seed_of(rng), bounds=bounds)
