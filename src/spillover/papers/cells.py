"""A cell: a published number against ours, the verdict, and what we would report in its place."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from spillover.analyses.rows import TableRow
from spillover.maths.estimate import Estimate

TOLERANCE = 1e-6  # relative
ZERO = 1e-12  # a published 0 is matched by anything nearer than this
DIGITS = 13  # of ours as written
Verdict = Literal["match", "differs", "not computable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Recommended:
    """What we would report in the place of a published number.

    n counts `unit`s. noise_ceiling: the correlation that noise leaves attainable. q: p after Benjamini-Hochberg over
    the family of like tests. Everything but the note is None where it does not apply or cannot be made.
    """

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    noise_ceiling: float | None = None
    p: float | None = None
    q: float | None = None
    note: str = ""

    @classmethod
    def from_estimate(
        cls, estimate: Estimate, unit: str, note: str = "", q: float | None = None, noise_ceiling: float | None = None
    ) -> Recommended:
        """An estimate over `unit`s, with q corrected anew where it is given."""
        q = estimate.q if q is None else q
        ends = (estimate.estimate, estimate.low, estimate.high)
        return cls(*ends, estimate.n, unit, noise_ceiling, estimate.p, q, note)

    def as_row(self) -> TableRow:
        """The fields, numbers to 12 significant digits."""
        return {name: settled(value) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Cell:
    """A published number with ours.

    name: part, table row and column, joined by `/`. published: NaN where the release prints NaN, None where it prints
    no number for the cell. ours: by the one formula that this kind of number has throughout the release; None or NaN
    where it cannot be computed. reason: a few words by which cells that differ, or cannot be computed, are counted
    together, of no meaning for those that match; note: all there is to say. stated: ends of a range that the paper
    states for a cell which the release does not tabulate, matched to two decimals.
    """

    name: str
    published: float | None
    ours: float | None
    reason: str = UNEXPLAINED
    note: str = ""
    recommended: Recommended | None = None
    stated: tuple[float, float] | None = None

    @property
    def part(self) -> str:
        """The part of the reproduction that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def verdict(self) -> Verdict:
        """match: within 1e-6, relative (or inside the stated range); differs; or not computable.

        A published number that is known to be wrong ("slip: ...") differs though the right one cannot be had.
        """
        if self.ours is None:
            known_wrong = self.published is not None and self.reason.startswith("slip:")
            return "differs" if known_wrong else "not computable"
        if self.stated is not None:
            return "match" if self.stated[0] <= round(self.ours, 2) <= self.stated[1] else "differs"
        if self.published is None or (math.isnan(self.ours) and not math.isnan(self.published)):
            return "not computable"
        return "match" if same(self.published, self.ours) else "differs"

    @property
    def difference(self) -> float | None:
        """ours - published; None where either is missing."""
        if self.ours is None or self.published is None or math.isnan(self.published) or math.isnan(self.ours):
            return None
        return self.ours - self.published

    def as_row(self) -> TableRow:
        """A line of cells.csv; ours to as many digits as every order of summation agrees on."""
        ours = settled(self.ours, DIGITS)
        known = self.difference is not None
        return {
            "part": self.part,
            "cell": self.name,
            "published": self.published,
            "ours": ours,
            "difference": (ours or 0.0) - (self.published or 0.0) if known else None,
            "verdict": self.verdict,
            "note": "; ".join(dict.fromkeys(text for text in (self._why(), self.note) if text)),
        }

    def _why(self) -> str:
        if self.verdict == "not computable" and not self.reason.startswith(("nothing", "what ", "a file", "lines")):
            return f"missing: {self.reason}"
        return self.reason if self.verdict != "match" else ""

    def recommended_row(self) -> TableRow:
        """A line of ours.csv."""
        recommended = self.recommended or Recommended()
        return {"part": self.part, "cell": self.name, "published": self.published, **recommended.as_row()}


def settled(value: float | None, digits: int = 12) -> float | None:
    """To so many significant digits: the last of a float hang on the order in which a machine adds up."""
    return value if value is None or not math.isfinite(value) else float(f"{value:.{digits - 1}e}")


def same(published: float, ours: float) -> bool:
    """Equal to 1e-6, relative; NaN equals NaN."""
    if math.isnan(published) or math.isnan(ours):
        return math.isnan(published) and math.isnan(ours)
    return abs(ours - published) <= max(TOLERANCE * abs(published), ZERO if published == 0 else 0.0)


def as_printed(value: float, published: float, decimals: int) -> float:
    """Our value rounded like the published one, where only that rounding stands between the two."""
    if math.isnan(value) or same(published, value):
        return value
    rounded = round(value, decimals)
    return rounded if same(published, rounded) else value


def as_number(value: object) -> float | None:
    """A value of a published file as a number: NaN for null, empty and nan; None for what is no number."""
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def as_float(value: object) -> float:
    """A value of a published file as a number; NaN where it is missing or is no number."""
    number = as_number(value)
    return math.nan if number is None else number


def numbers(row: Mapping[str, object], skip: Collection[str] = ()) -> dict[str, float]:
    """The numbers of a published row or object by their names; those in `skip` and what is no number are left out."""
    values = {name: as_number(value) for name, value in row.items() if name and name not in skip}
    return {name: value for name, value in values.items() if value is not None}


def tally(cells: Iterable[Cell]) -> dict[str, dict[Verdict, int]]:
    """By part, how many cells have which verdict."""
    counts: dict[str, dict[Verdict, int]] = {}
    for cell in cells:
        counts.setdefault(cell.part, dict.fromkeys(VERDICTS, 0))[cell.verdict] += 1
    return counts


def reasons(cells: Iterable[Cell]) -> list[TableRow]:
    """One row a part, verdict and reason: how many cells, the largest relative difference, an example."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.verdict != "match":
            groups.setdefault((cell.part, cell.verdict, cell.reason), []).append(cell)
    return [
        {
            "part": part,
            "verdict": verdict,
            "reason": reason,
            "cells": len(group),
            "largest_relative": max(
                (abs(cell.difference / cell.published) for cell in group if cell.difference and cell.published),
                default=None,
            ),
            "example": group[0].name,
        }
        for (part, verdict, reason), group in groups.items()
    ]
