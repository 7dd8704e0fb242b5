"""The report of a study: an artefact whose folder holds the page, its tables and its figures."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from spillover.analyses.analysis import Analysis
from spillover.report.page import render, write_section
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

    def make(self, context: BuildContext) -> dict[str, object]:
        sections = []
        for folder in ("tables", "figures"):
            (context.folder / folder).mkdir()
        for done, (name, analysis) in enumerate(named(self.analyses).items(), start=1):
            result = analysis.read_result(context.path(analysis))
            sections.append(write_section(name, analysis.section(result), result.tables, context.folder))
            context.progress(done / (len(self.analyses) + 1))
        page = render(self.title, self.about, sections, provenance_of(self, context.store))
        (context.folder / PAGE).write_text(page, encoding="utf-8", errors="replace")
        return {
            "tables": len(list((context.folder / "tables").iterdir())),
            "page_bytes": len(page.encode("utf-8", "replace")),
        }


def named(analyses: tuple[Analysis, ...]) -> dict[str, Analysis]:
    """Analyses by the name their tables go by: the kind in small letters, numbered from the second of a kind."""
    by_name: dict[str, Analysis] = {}
    for analysis in analyses:
        stem, count = analysis.kind.lower(), 2
        name = stem
        while name in by_name:
            name, count = f"{stem}{count}", count + 1
        by_name[name] = analysis
    return by_name
