"""Released cross-validation tables: what follows from their own columns, and twins that should differ."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from spillover.maths.cross_validation import interval_from_summary
from spillover.papers.cells import UNEXPLAINED, Cell, Recommended, as_float, numbers, same
from spillover.papers.em_generalization.contents import PublishedRow
from spillover.papers.em_generalization.reproduce.released import CrossValidated
from spillover.papers.em_generalization.reproduce.textbook import two_sided_t

SPLITS, TEST_SHARE = 50, 0.25  # 5 folds, 10 times
PERMUTATIONS = 200
FOLDS = "the scores of the single folds"
PERMUTED = "the scores of the permutations"
DRAWS = "the bootstrap draws behind it"
OTHER_COLUMNS = "the columns that it follows from"
LOST_DIGITS = "published is 2 (1 - cdf), which loses all digits below 1e-16"
WRONG_MODEL = 'slip: "pretrained" equals the instruct model (docs/method.md, mistake 2: -instruct against -Instruct)'
CHANCE = re.compile(r"_ci_(low|high)$")  # columns drawn at random, which twins need not share


def prediction_cells(tables: Sequence[CrossValidated]) -> Iterator[Cell]:
    """Every number of the tables, and one cell for each row that a twin repeats."""
    for table in tables:
        for name, row in table.rows.items():
            for column, published in numbers(row).items():
                yield _cell(f"prediction/{table.label}/{name}/{column}", column, published, row)
    instruct = {table.twin: table for table in tables if not table.pretrained}
    for table in tables:
        if table.pretrained and table.twin in instruct:
            other = instruct[table.twin]
            for name in table.rows:
                if name in other.rows:
                    cell_name = f"prediction/{table.label}/{name}/same_as_instruct"
                    yield _twin_cell(cell_name, table.rows[name], other.rows[name], other.label)


def _cell(name: str, column: str, published: float, row: PublishedRow) -> Cell:
    recommended = _recommended(row)
    ours, note = _from_other_columns(column, row)
    if ours is None:
        missing = PERMUTED if "perm_p_" in column or "null_" in column else DRAWS if CHANCE.search(column) else FOLDS
        return Cell(name, published, None, missing, note, recommended)
    if math.isnan(ours) and not math.isnan(published):
        return Cell(name, published, None, OTHER_COLUMNS, note)
    cancelled = two_sided_t(as_float(row.get("rmse_t_stat")), SPLITS - 1, cancelling=True)
    lost = column == "rmse_p_value" and same(published, cancelled)
    return Cell(name, published, ours, LOST_DIGITS if lost else UNEXPLAINED, note, recommended)


def _from_other_columns(column: str, row: PublishedRow) -> tuple[float | None, str]:
    """(value, note) of a column from the others of its row; None where it does not follow from them."""
    r2, sd, rmse, baseline, t = (
        as_float(row.get(name)) for name in ("cv_r2_mean", "cv_std", "rmse_mean", "baseline_rmse_mean", "rmse_t_stat")
    )
    if column in ("ci_low", "ci_high"):
        interval = interval_from_summary(r2, sd, SPLITS, TEST_SHARE)
        end = interval.low if column == "ci_low" else interval.high
        return end, "Nadeau-Bengio over 50 folds, from mean and SD"
    if column == "rmse_diff_mean":
        return rmse - baseline, ""
    if column == "rmse_p_value":
        p = two_sided_t(t, SPLITS - 1)
        return p, f"t on {SPLITS - 1} degrees of freedom" + (f": {p:.3g}" if p < 1e-15 else "")
    if column == "perm_score":
        return r2, "the same as cv_r2_mean: the score that permutations are held against"
    if column == "perm_rmse":
        return rmse, "the same as rmse_mean: the score that permutations are held against"
    if column.startswith("perm_p_"):
        return None, f"the least that {PERMUTATIONS} permutations can give is {1 / (PERMUTATIONS + 1):.6g}"
    if "null_" not in column and CHANCE.search(column):
        return None, "an interval drawn without a seed: twins with equal scores have unlike ends"
    return None, ""


def _recommended(row: PublishedRow) -> Recommended | None:
    r2, sd = as_float(row.get("cv_r2_mean")), as_float(row.get("cv_std"))
    if math.isnan(r2) or math.isnan(sd):
        return None
    note = "R2, Nadeau-Bengio; folds not grouped by family, and the 5 draws share questions"
    estimate = interval_from_summary(r2, sd, SPLITS, TEST_SHARE, null=0.0)
    return Recommended.from_estimate(estimate, "folds", note=note)


def _twin_cell(name: str, row: PublishedRow, instruct: PublishedRow, label: str) -> Cell:
    """A row of a "pretrained" table against that of the instruct model's table: their numbers should differ."""
    columns = [column for column in numbers(row) if column in instruct]
    fixed = [column for column in columns if not CHANCE.search(column)]
    equal = [column for column in fixed if same(as_float(row[column]), as_float(instruct[column]))]
    published = as_float(row.get("cv_r2_mean"))
    if len(equal) < len(fixed):
        note = f"{len(equal)} of {len(fixed)} numbers equal those of {label}: two models"
        return Cell(name, published, published, note=note)
    r2 = as_float(instruct.get("cv_r2_mean"))
    note = (
        f"all {len(fixed)} numbers that are not drawn at random equal those of {label} (R2 {r2:.6g}); "
        f"the pretrained model's R2 is not in the release"
    )
    return Cell(name, published, None, WRONG_MODEL, note)
