"""The report of a study: an artefact whose folder holds the page, its tables and its figures. Computes nothing."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from spillover.analyses.analysis import Analysis
from spillover.analyses.blocks import Figure
from spillover.records import table, write_csv
from spillover.report.figures import draw_svg
from spillover.report.page import PageSection, render
from spillover.report.provenance_section import provenance_of
from spillover.store import Artefact, BuildContext, Cost, Store

PAGE = "index.html"


@dataclass(frozen=True)
class ReportPage:
    """What `load` gives of a report."""

    page: Path  # one HTML file that opens from disk

    @property
    def tables(self) -> dict[str, Path]:
        """The CSV of every table on the page, by name."""
        return {path.stem: path for path in sorted((self.page.parent / "tables").glob("*.csv"))}

    def __repr__(self) -> str:
        return f"<report {self.page}>"

    def _repr_html_(self) -> str:
        return f'<a href="{html.escape(self.page.as_uri())}" target="_blank">{html.escape(str(self.page))}</a>'


class Report(Artefact):
    """One self-contained page over several analyses."""

    title: str
    about: str = ""  # what the study is, in a sentence or two
    analyses: tuple[Analysis, ...] = Field(min_length=1)

    def summary(self) -> str:
        return f"The report {self.title!r}, {len(self.analyses)} analyses"

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=8.0)

    def value(self, store: Store) -> ReportPage:
        """The page and its tables."""
        return ReportPage(store.path(self) / PAGE)

    def make(self, context: BuildContext) -> dict[str, Any]:
        parts = []
        for folder in ("tables", "figures"):
            (context.folder / folder).mkdir()
        for done, (name, analysis) in enumerate(named(self.analyses).items(), start=1):
            result = analysis.read_result(context.path(analysis))
            section = analysis.section(result)
            for kind, rows in result.tables.items():
                write_csv(table(rows), context.folder / "tables" / f"{name}_{kind}.csv")
            figures = {}
            for block in section.blocks:
                if isinstance(block, Figure):
                    figures[block.name] = draw_svg(block)
                    (context.folder / "figures" / f"{name}_{block.name}.svg").write_bytes(figures[block.name])
            parts.append(PageSection(name, section, figures))
            context.progress(done / (len(self.analyses) + 1))
        page = render(self.title, self.about, parts, provenance_of(self, context.store))
        (context.folder / PAGE).write_text(page, encoding="utf-8", errors="replace")
        return {
            "tables": len(list((context.folder / "tables").iterdir())),
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
