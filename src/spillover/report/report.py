"""The report of a study: an artefact whose folder holds the page, its tables and its figures. Computes nothing."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from spillover.analyses.analysis import Analysis
from spillover.analyses.showing import Figure
from spillover.records import table, write_csv
from spillover.report.figures import draw_svg
from spillover.report.page import Part, render
from spillover.report.ran import what_ran
from spillover.store import Artefact, Work

PAGE = "index.html"


class Report(Artefact):
    """One self-contained page over several analyses."""

    title: str
    about: str = ""  # what the study is, in a sentence or two
    analyses: tuple[Analysis, ...] = Field(min_length=1)

    def summary(self) -> str:
        return f"The report {self.title!r}, {len(self.analyses)} analyses"

    def seconds_per_unit(self) -> float:
        return 8.0

    def make(self, work: Work) -> dict[str, Any]:
        parts = []
        for folder in ("tables", "figures"):
            (work.folder / folder).mkdir()
        for done, (name, analysis) in enumerate(named(self.analyses).items(), start=1):
            found = analysis.found(work.of(analysis))
            section = analysis.section(found)
            for kind, rows in found.tables.items():
                write_csv(table(rows), work.folder / "tables" / f"{name}_{kind}.csv")
            figures = {}
            for block in section.blocks:
                if isinstance(block, Figure):
                    figures[block.name] = draw_svg(block)
                    (work.folder / "figures" / f"{name}_{block.name}.svg").write_bytes(figures[block.name])
            parts.append(Part(name, section, figures))
            work.tick(done / (len(self.analyses) + 1))
        page = render(self.title, self.about, parts, what_ran(self, work.store))
        (work.folder / PAGE).write_text(page, encoding="utf-8", errors="replace")
        return {
            "tables": len(list((work.folder / "tables").iterdir())),
            "page_bytes": len(page.encode("utf-8", "replace")),
        }


def named(analyses: tuple[Analysis, ...]) -> dict[str, Analysis]:
    """Analyses by the name their tables go by: the kind in small letters, numbered from the second of a kind."""
    found: dict[str, Analysis] = {}
    for analysis in analyses:
        stem, count = analysis.kind.lower(), 2
        name = stem
        while name in found:
            name, count = f"{stem}{count}", count + 1
        found[name] = analysis
    return found
