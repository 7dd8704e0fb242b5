"""The release's cross-validation CSV: R2 and RMSE of each regressor, as published. Knows one file, no activation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from spillover.judgements.tables.imported_scores import SourceFile
from spillover.judgements.tables.row_reader import Rejected, read_rows
from spillover.papers.em_generalization.geometry import as_table
from spillover.papers.em_generalization.place import CrossValidationName
from spillover.records import write_table
from spillover.store import Artefact, BuildContext

NEEDED = ("name", "cv_r2_mean")


class PublishedCrossValidation(Artefact):
    """Published results of predicting question scores from activations."""

    name: CrossValidationName
    file: SourceFile

    def summary(self) -> str:
        return f"Published cross-validation, {self.name.label()}"

    def make(self, context: BuildContext) -> dict[str, Any]:
        rows = read_cross_validation(self.file.checked())
        write_table(as_table(rows), context.folder / "results.parquet")
        return {"regressors": [row["name"] for row in rows], "r2": [row["cv_r2_mean"] for row in rows]}


def read_cross_validation(path: Path) -> list[dict[str, Any]]:
    """One row a regressor, numbers as numbers; ValueError where a column or a cell is not as expected."""
    rows = read_table_csv(path)
    names = list(rows[0])
    lacking = [name for name in NEEDED if name not in names]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; its columns are {', '.join(names)}")
    return rows


def read_table_csv(path: Path) -> list[dict[str, Any]]:
    """A small CSV of published numbers: cells that are numbers as such, empty ones and NaN as None."""
    rows = []
    for row in read_rows(path):
        if isinstance(row, Rejected):
            raise ValueError(f"{path}, line {row.line}: {row.why}")
        rows.append({name: _value(cell) for name, cell in row.cells.items()})
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def _value(cell: str) -> Any:
    if not cell.strip():
        return None
    try:
        number = float(cell)
    except ValueError:
        return cell
    if not math.isfinite(number):
        return None
    return int(cell) if cell.strip().lstrip("-").isdigit() else number
