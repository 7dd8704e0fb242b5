"""Rows of an analysis' tables: estimates as columns, q-values over tests made together, rows picked and grouped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spillover.maths.estimate import Estimate
from spillover.maths.multiplicity import benjamini_hochberg

TableRow = dict[str, Any]  # by column; a cell is a number, a text, a truth value or None
TableRows = list[TableRow]


def untested(estimate: Estimate) -> TableRow:
    """The columns estimate, low, high and n: of a number that no test was made of."""
    row = estimate.as_row()
    return {name: row[name] for name in ("estimate", "low", "high", "n")}


def prefixed(name: str, estimate: Estimate, p: bool = True) -> TableRow:
    """An estimate as the columns `name`, `name_low`, `name_high` and, with `p`, `name_p`."""
    row = {name: estimate.estimate, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row | {f"{name}_p": estimate.p} if p else row


def add_q_values(rows: Sequence[TableRow], p: str = "p", q: str = "q") -> None:
    """Write into column `q` the Benjamini-Hochberg q-value of column `p` over these rows (NaN stays NaN)."""
    for row, value in zip(rows, benjamini_hochberg([row[p] for row in rows]), strict=True):
        row[q] = float(value)


def row_where(rows: Sequence[TableRow], **wanted: object) -> TableRow:
    """The first row with these values; a row without an estimate where there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in wanted.items()):
            return row
    return {"estimate": None, "low": None, "high": None, "n": 0, **wanted}


def rows_where(rows: Sequence[TableRow], **wanted: object) -> TableRows:
    """All rows with these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def grouped(rows: Sequence[TableRow], *names: str) -> dict[Any, TableRows]:
    """Rows by a column's value, or by the values of several, in the order of their first."""
    groups: dict[Any, TableRows] = {}
    for row in rows:
        key = row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)
        groups.setdefault(key, []).append(row)
    return groups
