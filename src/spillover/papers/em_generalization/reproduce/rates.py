"""Shares of prior comparisons with p below a bound, against `comparison_rates.csv`. Knows the comparisons made."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spillover.maths.multiplicity import benjamini_hochberg
from spillover.papers.cells import Cell, Recommended, as_number, as_printed
from spillover.papers.em_generalization.reproduce.prior import Compared

PART = "rates"
RATE = re.compile(r"^(?P<test>wilcoxon|pearson|ks)_sig_rate_(?P<bound>0?\.\d+)$")
TESTS = {"wilcoxon": "w_p", "pearson": "pearson_p", "ks": "ks_p"}
DECIMALS = {"pearson_stat": 4}


def rates_cells(rows: Sequence[Mapping[str, Any]], made: Sequence[Compared]) -> Iterator[Cell]:
    """Every number of the table: computed where all comparisons it counts are here, else bounded by those that are."""
    for row in rows:
        suffix, metric = str(row.get("suffix", "")), str(row.get("metric", ""))
        here = [one for one in made if one.run.rsplit("_", 1)[-1] == suffix and one.metric == metric]
        total = as_number(row.get("total"))
        for column, value in row.items():
            published = as_number(value)
            if column in ("suffix", "metric", "") or published is None:
                continue
            yield _cell(f"{PART}/{suffix}/{metric}/{column}", column, published, here, total)


def _cell(name: str, column: str, published: float, here: Sequence[Compared], total: float | None) -> Cell:
    if total is None or math.isnan(total):
        return Cell(name, published, None, "how many comparisons were counted (total)")
    count = int(total)
    missing = f"{max(count - len(here), 0)} of {count} comparisons"
    if column == "total":
        ours = float(len(here)) if len(here) == count else None
        return Cell(name, published, ours, "" if ours is not None else missing)
    rate = RATE.match(column)
    if rate is None and column != "pearson_stat":
        return Cell(name, published, None, f"what {column} is")
    if not here:
        return Cell(name, published, None, missing)
    beside = _beside(column, here)
    if len(here) > count:
        return Cell(name, published, None, f"which {count} of {len(here)} comparisons were counted", recommended=beside)
    values = _values(column, here)
    if len(here) == count:
        ours = as_printed(sum(values) / count, published, DECIMALS.get(column, 3))
        return Cell(name, published, ours, "unexplained" if ours != published else "", "", beside)
    low, high = (0.0, 1.0) if rate else (-1.0, 1.0)
    ends = [(sum(values) + (count - len(here)) * end) / count for end in (low, high)]
    inside = ends[0] - 5e-4 <= published <= ends[1] + 5e-4
    note = (
        f"the {len(here)} here give {sum(values) / len(here):.4g}, so all {count} give between {ends[0]:.4g} and "
        f"{ends[1]:.4g}; the published value lies {'inside' if inside else 'OUTSIDE'}"
    )
    return Cell(name, published, None, missing, note, beside)


def _values(column: str, here: Sequence[Compared]) -> list[float]:
    rate = RATE.match(column)
    if rate is None:
        return [one.statistics["pearson_stat"] for one in here]
    return [float(one.statistics[TESTS[rate["test"]]] < float(rate["bound"])) for one in here]


def _beside(column: str, here: Sequence[Compared]) -> Recommended:
    """The share of the comparisons here with q, in the place of p, below the bound."""
    rate = RATE.match(column)
    if rate is None:
        found = [one.statistics["pearson_stat"] for one in here]
        return Recommended(sum(found) / len(found), n=len(here), unit="comparisons", note="mean r of those here")
    q = benjamini_hochberg([one.statistics[TESTS[rate["test"]]] for one in here])
    share = float((q < float(rate["bound"])).mean())
    return Recommended(
        share, n=len(here), unit="comparisons", note="share with q, not p, below the bound; these comparisons as family"
    )
