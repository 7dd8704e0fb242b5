"""What an analysis is: a spec made from artefacts, kept as tidy tables, showing itself. Knows no page."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spillover.analyses.showing import Section
from spillover.records import read_json, read_table, table, write_json, write_table
from spillover.store import Artefact, Work

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What an analysis found: tidy tables by name, and single facts (plain JSON)."""

    tables: Mapping[str, Rows]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Analysis(Artefact):
    """A question put to artefacts. Subclass it with fields that hold them; write `analyse` and `show`."""

    @abstractmethod
    def analyse(self, work: Work) -> Found:
        """Read the artefacts in the fields (`work.of(...)`) and find out. No artefact is made here."""

    @abstractmethod
    def show(self, found: Found) -> Section:
        """What was found, for people."""

    def make(self, work: Work) -> dict[str, Any]:
        found = self.analyse(work)
        for name, rows in found.tables.items():
            write_table(table(rows), work.folder / f"{name}.parquet")
        write_json(dict(found.facts), work.folder / "result.json")
        return {"rows": {name: len(rows) for name, rows in found.tables.items()}}

    def found(self, folder: Path) -> Found:
        """What `make` wrote."""
        tables = {path.stem: read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}
        return Found(tables, read_json(folder / "result.json"))
