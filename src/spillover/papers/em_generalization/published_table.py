"""A published table of the release (CSV), kept as it stands. Knows cells, not what they mean."""

from __future__ import annotations

from typing import Any

from spillover.judgements.tables.imported_scores import SourceFile
from spillover.papers.em_generalization.cross_validation import read_table_csv
from spillover.papers.em_generalization.geometry import as_table
from spillover.records import write_table
from spillover.store import Artefact, BuildContext

LONGEST = 1000  # characters of a cell that is kept: some tables carry whole logs, which the runs' own files have


class PublishedTable(Artefact):
    """A table of published numbers."""

    name: str
    file: SourceFile

    def summary(self) -> str:
        return f"Published table {self.name}"

    def make(self, context: BuildContext) -> dict[str, Any]:
        rows = read_table_csv(self.file.checked())
        long = {name for row in rows for name, cell in row.items() if isinstance(cell, str) and len(cell) > LONGEST}
        kept = [{name or "row": cell for name, cell in row.items() if name not in long} for row in rows]
        write_table(as_table(kept), context.folder / "table.parquet")
        return {"rows": len(rows), "left_out": sorted(long)}
