"""Released cross-validation tables: what follows from their own columns, and twins that should differ. Knows rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spillover.maths.cross_validation import interval_from_summary
from spillover.papers.cells import Cell, Recommended, as_number, same
from spillover.papers.em_generalization.reproduce.textbook import two_sided_t, two_sided_t_cancelling

PART = "prediction"
SPLITS, TEST_SHARE = 50, 0.25  # 5 folds, 10 times
PERMUTATIONS = 200
FOLDS = "the scores of the single folds"
LOST_DIGITS = "published is 2 (1 - cdf), which loses all digits below 1e-16"
NULLS = "the scores of the permutations"
DRAWS = "the bootstrap draws behind it"
WRONG_MODEL = (
    'slip: "pretrained" equals the instruct model (METHOD, mistake 2: a path made by replacing -instruct in -Instruct)'
)
CHANCE = re.compile(r"_ci_(low|high)$")  # columns drawn at random, which twins need not share
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


@dataclass(frozen=True)
class CrossValidated:
    """One released table: its label in cells, whether it says pretrained, what else its name says, its rows by name.

    twin: equal for a table and its counterpart of the other model.
    """

    label: str
    pretrained: bool
    twin: str
    rows: Mapping[str, Mapping[str, Any]]


def prediction_cells(tables: Sequence[CrossValidated]) -> Iterator[Cell]:
    """Every number of the tables, and one cell for each row that a twin repeats."""
    for table in tables:
        for name, row in table.rows.items():
            prefix = f"{PART}/{table.label}/{name}"
            for column, value in row.items():
                published = as_number(value)
                if published is not None and column and not isinstance(value, bool):
                    yield _cell(f"{prefix}/{column}", column, published, row)
    yield from _twins(tables)


def _cell(name: str, column: str, published: float, row: Mapping[str, Any]) -> Cell:
    ours, missing, note = _expected(column, row)
    if ours is None:
        return Cell(name, published, None, missing, note, _beside(row))
    reason = ""
    if not same(published, ours):
        if math.isnan(ours):
            return Cell(name, published, None, "the columns that it follows from", note)
        lost = column == "rmse_p_value" and same(
            published, two_sided_t_cancelling(_number(row, "rmse_t_stat"), SPLITS - 1)
        )
        reason = LOST_DIGITS if lost else "unexplained"
    return Cell(name, published, ours, reason, note, _beside(row))


def _expected(column: str, row: Mapping[str, Any]) -> tuple[float | None, str, str]:
    """A column from the others of its row: (value, what is missing, note)."""
    if column in ("ci_low", "ci_high"):
        mean, spread = _number(row, "cv_r2_mean"), _number(row, "cv_std")
        found = interval_from_summary(mean, spread, SPLITS, TEST_SHARE)
        return (found.low if column == "ci_low" else found.high), "", "Nadeau-Bengio over 50 folds, from mean and SD"
    if column == "rmse_diff_mean":
        return _number(row, "rmse_mean") - _number(row, "baseline_rmse_mean"), "", ""
    if column == "rmse_p_value":
        exact = two_sided_t(_number(row, "rmse_t_stat"), SPLITS - 1)
        return exact, "", f"t on {SPLITS - 1} degrees of freedom" + (f": {exact:.3g}" if exact < 1e-15 else "")
    if column in ("perm_score", "perm_rmse"):
        twin = "cv_r2_mean" if column == "perm_score" else "rmse_mean"
        return _number(row, twin), "", f"the same as {twin}: the score that permutations are held against"
    if column.startswith("perm_p_"):
        least = 1 / (PERMUTATIONS + 1)
        return None, NULLS, f"the least that {PERMUTATIONS} permutations can give is {least:.6g}"
    if "null_" in column:
        return None, NULLS, ""
    if CHANCE.search(column):
        return None, DRAWS, "an interval drawn without a seed: twins with equal scores have unlike ends"
    return None, FOLDS, ""


def _beside(row: Mapping[str, Any]) -> Recommended | None:
    mean, spread = _number(row, "cv_r2_mean"), _number(row, "cv_std")
    if math.isnan(mean) or math.isnan(spread):
        return None
    note = "R2, Nadeau-Bengio; folds not grouped by family, and the 5 draws share questions"
    return Recommended.from_estimate(
        interval_from_summary(mean, spread, SPLITS, TEST_SHARE, null=0.0), "folds", note=note
    )


def _twins(tables: Sequence[CrossValidated]) -> Iterator[Cell]:
    """Rows of "pretrained" tables whose numbers are those of the instruct model's table."""
    others = {table.twin: table for table in tables if not table.pretrained}
    for table in tables:
        other = others.get(table.twin) if table.pretrained else None
        for name, row in table.rows.items() if other else ():
            assert other is not None
            if name in other.rows:
                yield _twin(f"{PART}/{table.label}/{name}/same_as_instruct", row, other.rows[name], other.label)


def _twin(name: str, row: Mapping[str, Any], instruct: Mapping[str, Any], label: str) -> Cell:
    columns = [column for column, value in row.items() if as_number(value) is not None and column in instruct]
    fixed = [column for column in columns if not CHANCE.search(column) or column in ("ci_low", "ci_high")]
    equal = [column for column in fixed if same(_number(row, column), _number(instruct, column))]
    published, ours = _number(row, "cv_r2_mean"), _number(instruct, "cv_r2_mean")
    if len(equal) == len(fixed):
        note = f"all {len(fixed)} numbers that are not drawn at random equal those of {label} (R2 {ours:.6g})"
        return Cell(name, published, None, WRONG_MODEL, f"{note}; the pretrained model's R2 is not in the release")
    note = f"{len(equal)} of {len(fixed)} numbers equal those of {label}: two models"
    return Cell(name, published, published, "", note)


def _number(row: Mapping[str, Any], column: str) -> float:
    found = as_number(row.get(column))
    return math.nan if found is None else found
