"""A number with its uncertainty, as every analysis reports it. Knows nothing of how it was estimated."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A point estimate with an interval, its sample size and, where one was made, a test.

    estimate: in the unit of what was estimated; NaN where there were no data to estimate it from.
    low, high: ends of the interval (95% unless the maker was told otherwise); NaN where the data allow none
        (fewer than two clusters, no variation), infinite where the data set no bound on that side.
    n: number of units the estimate is a mean or correlation *over* (questions, runs or answers: the maker
    says).
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

    def corrected(self, q: float) -> Estimate:
        """The same estimate with its corrected p-value."""
        return replace(self, q=float(q))

    @classmethod
    def missing(cls, n: int = 0, tested: bool = False) -> Estimate:
        """No data, or too few: NaN throughout, never 0; `n` is how many units there were."""
        return cls(NAN, NAN, NAN, n, NAN if tested else None)
