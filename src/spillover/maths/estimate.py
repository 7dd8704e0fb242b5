"""A number with its uncertainty, as every analysis reports it, and the choice of how that uncertainty is computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A point estimate with an interval, its sample size and, where one was made, a test.

    estimate: in the unit of what was estimated; NaN where there were no data to estimate it from.
    low, high: ends of the interval (95% unless `Resampling.level` says otherwise); NaN where the data allow none
        (fewer than two clusters, no variation), infinite where the data set no bound on that side.
    n: number of units the estimate is a mean or correlation *over* (questions, runs or answers: the function says).
    p: two-sided p-value in [0, 1]; None where no test was made, NaN where one was due and could not be made.
    q: the same after correction for the family of tests (see `multiplicity`); None until corrected.
    """

    estimate: float
    low: float
    high: float
    n: int
    p: float | None = None
    q: float | None = None

    def as_row(self) -> dict[str, float | int | None]:
        """The six columns of a tidy table."""
        return asdict(self)

    @classmethod
    def missing(cls, n: int = 0, tested: bool = False) -> Estimate:
        """No data, or too few: NaN throughout, never 0; `n` is how many units there were."""
        return cls(NAN, NAN, NAN, n, NAN if tested else None)


@dataclass(frozen=True)
class Resampling:
    """How intervals and tests are computed. Equal values give equal numbers: the seed is part of the choice.

    draws: bootstrap draws, permutations, simulated draws or random splits, at least 99.
    level: of the interval, between 0 and 1.
    seed: of the random draws.
    bounds: the least and the greatest value one row can take (scores: (0, 100)); None where there is no such range.
    """

    draws: int = 2000
    level: float = 0.95
    seed: int = 0
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.draws < 99:
            raise ValueError(f"draws must be at least 99, got {self.draws}: fewer cannot carry an interval")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level}; 95% is 0.95")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds must be (least, greatest), got {self.bounds}")

    @property
    def tails(self) -> tuple[float, float]:
        """The quantiles between which the interval lies: (0.025, 0.975) at level 0.95."""
        return (1 - self.level) / 2, 1 - (1 - self.level) / 2

    def rng(self) -> np.random.Generator:
        """A generator that starts at `seed`."""
        return np.random.default_rng(self.seed)


DEFAULT = Resampling()
