"""One published number beside ours, and the verdict. Knows numbers and reasons, not where they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from spillover.maths.estimate import Estimate

TOLERANCE = 1e-6  # relative
DIGITS = 13  # of ours as written
ZERO = 1e-12  # a published 0 is matched by anything nearer than this
Verdict = Literal["match", "differs", "not computable"]
VERDICTS: tuple[Verdict, ...] = ("match", "differs", "not computable")


@dataclass(frozen=True)
class Beside:
    """What we would report in the place of a published number.

    n counts `unit`s. ceiling: the correlation that noise leaves attainable. q: p after Benjamini-Hochberg over the
    family of like tests. Everything but the note is None where it does not apply or cannot be made.
    """

    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""
    ceiling: float | None = None
    p: float | None = None
    q: float | None = None
    note: str = ""

    @classmethod
    def of(cls, found: Estimate, unit: str, **more: Any) -> Beside:
        """From an estimate; `more` are the other fields."""
        given = {"estimate": found.estimate, "low": found.low, "high": found.high, "n": found.n, "p": found.p}
        return cls(**(given | {"unit": unit, "q": found.q} | more))


@dataclass(frozen=True)
class Cell:
    """A published number with ours.

    published: NaN where the release prints NaN, None where it prints no number for the cell. ours: by the one formula
    that this kind of number has throughout the release; None or NaN where it cannot be computed. reason: a few words
    by which cells that differ, or cannot be computed, are counted together; note: all there is to say. stated: ends of
    a range that the paper states for a cell which the release does not tabulate, matched to two decimals.
    """

    part: str
    cell: str
    published: float | None
    ours: float | None
    reason: str = ""
    note: str = ""
    beside: Beside | None = None
    stated: tuple[float, float] | None = None

    @property
    def verdict(self) -> Verdict:
        """match: within 1e-6, relative (or inside the stated range); differs; or not computable."""
        if self.ours is None:
            return "differs" if self.reason and self.published is not None and self.known_wrong else "not computable"
        if self.stated is not None:
            return "match" if self.stated[0] <= round(self.ours, 2) <= self.stated[1] else "differs"
        if self.published is None or (math.isnan(self.ours) and not math.isnan(self.published)):
            return "not computable"
        return "match" if same(self.published, self.ours) else "differs"

    @property
    def known_wrong(self) -> bool:
        """Whether the published number is known to be wrong though the right one cannot be had."""
        return self.reason.startswith("slip:")

    @property
    def difference(self) -> float | None:
        """ours - published; None where either is missing."""
        if self.ours is None or self.published is None or math.isnan(self.published) or math.isnan(self.ours):
            return None
        return self.ours - self.published

    def renamed(self, cell: str) -> Cell:
        """The same under another name."""
        return replace(self, cell=cell)

    def row(self) -> dict[str, Any]:
        """A line of cells.csv; ours to as many digits as every order of summation agrees on."""
        ours = settled(self.ours, DIGITS)
        note = "; ".join(dict.fromkeys(text for text in (self._why(), self.note) if text))
        return {
            "part": self.part,
            "cell": self.cell,
            "published": self.published,
            "ours": ours,
            "difference": self.difference
            if ours is None or self.difference is None
            else ours - (self.published or 0.0),
            "verdict": self.verdict,
            "note": note,
        }

    def _why(self) -> str:
        if self.verdict == "not computable" and not self.reason.startswith(("nothing", "what ", "a file", "lines")):
            return f"missing: {self.reason}"
        return self.reason if self.verdict != "match" else ""

    def beside_row(self) -> dict[str, Any]:
        """A line of ours.csv."""
        ours = self.beside or Beside()
        numbers = {name: settled(getattr(ours, name)) for name in ("estimate", "low", "high", "ceiling", "p", "q")}
        return {
            "part": self.part,
            "cell": self.cell,
            "published": self.published,
            "estimate": numbers["estimate"],
            "low": numbers["low"],
            "high": numbers["high"],
            "n": ours.n,
            "unit": ours.unit,
            "noise_ceiling": numbers["ceiling"],
            "p": numbers["p"],
            "q": numbers["q"],
            "note": ours.note,
        }


def settled(value: float | None, digits: int = 12) -> float | None:
    """To so many significant digits: the last of a float hang on the order in which a machine adds up."""
    return value if value is None or not math.isfinite(value) else float(f"{value:.{digits - 1}e}")


def same(published: float, ours: float) -> bool:
    """Equal to 1e-6, relative; NaN equals NaN."""
    if math.isnan(published) or math.isnan(ours):
        return math.isnan(published) and math.isnan(ours)
    return abs(ours - published) <= max(TOLERANCE * abs(published), ZERO if published == 0 else 0.0)


def close(published: float | None, ours: float, step: float) -> bool:
    """Whether a difference is no more than a known rounding of `step`."""
    return published is not None and abs(ours - published) <= step


def as_printed(value: float, published: float | None, decimals: int) -> float:
    """Our value rounded like the published one, where only that rounding stands between the two."""
    if published is None or math.isnan(value) or same(published, value):
        return value
    rounded = round(value, decimals)
    return rounded if same(published, rounded) or (published == 0 and rounded == 0) else value


def number(value: Any) -> float | None:
    """A cell of a published file as a number: NaN for null, empty and nan; None for what is no number."""
    if value is None or value == "":
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def tally(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """One row a part: how many cells have which verdict."""
    counts: dict[str, dict[str, int]] = {}
    for cell in cells:
        counts.setdefault(cell.part, dict.fromkeys(VERDICTS, 0))[cell.verdict] += 1
    return [{"part": part, "cells": sum(found.values()), **found} for part, found in counts.items()]


def reasons(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """One row a part, verdict and reason: how many cells, the largest relative difference, an example."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        if cell.verdict != "match":
            found.setdefault((cell.part, cell.verdict, cell.reason or "unexplained"), []).append(cell)
    return [
        {
            "part": part,
            "verdict": verdict,
            "reason": reason,
            "cells": len(group),
            "largest_relative": max((gap for one in group if (gap := _relative(one)) is not None), default=None),
            "example": group[0].cell,
        }
        for (part, verdict, reason), group in found.items()
    ]


def _relative(cell: Cell) -> float | None:
    if cell.difference is None or not cell.published:
        return None
    return abs(cell.difference / cell.published)


def numbers(row: Mapping[str, Any], aside: Iterable[str] = ()) -> dict[str, float]:
    """The numeric columns of a published table's row; those named in `aside` and those without a number left out."""
    kept = {name: number(value) for name, value in row.items() if name and name not in set(aside)}
    return {name: value for name, value in kept.items() if value is not None}
