"""What an analysis is: a spec made from artefacts, kept as tidy tables and facts, which shows itself as a section."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.analyses.blocks import Paragraph, Section
from spillover.analyses.rows import TableRows
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.records import read_json, read_table, table, write_json, write_table
from spillover.spec import walk
from spillover.store import Artefact, BuildContext, Store


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis estimated: tidy tables by name, and single facts (plain JSON)."""

    tables: Mapping[str, TableRows]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnalysisTables(Mapping[str, pa.Table]):
    """What `load` gives of an analysis: its tables by name (`result["contrasts"].to_pandas()`), and its facts."""

    kind: str
    tables: Mapping[str, pa.Table]
    facts: Mapping[str, Any]

    def __getitem__(self, name: str) -> pa.Table:
        if name not in self.tables:
            raise KeyError(f"{self.kind} has no table {name!r}; it has {', '.join(self.tables)}")
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(f'{name} ({len(table)} rows)' for name, table in self.tables.items())}>"


class Analysis(Artefact):
    """A question put to artefacts. Subclass it with fields that hold them; write `analyse` and `show`."""

    allow_unlike_judges: bool = False  # compare scores of unlike judges or rubrics all the same; the page says so

    @abstractmethod
    def analyse(self, context: BuildContext) -> AnalysisResult:
        """Read the artefacts in the fields (`context.path(...)`) and estimate. No artefact is made here."""

    @abstractmethod
    def show(self, result: AnalysisResult) -> Section:
        """The result for people: text whose numbers name their table, figures, tables."""

    def section(self, result: AnalysisResult) -> Section:
        """`show`, with a warning on top where scores of unlike judges were let through."""
        section = self.show(result)
        scored = [spec for spec in walk(self) if isinstance(spec, ScoredAnswers)]
        judges = dict.fromkeys((answers.judge_name, answers.rubric_name) for answers in scored)
        if not self.allow_unlike_judges or len(judges) < 2:
            return section
        names = "; ".join(f"{judge} by {rubric}" for judge, rubric in judges)
        warning = (
            f"Unlike judges: the scores compared here come from {names}. A difference can be one between judges, not "
            "between models; this was allowed on purpose (allow_unlike_judges)."
        )
        top = section.headline and Paragraph((*section.headline.parts, " (Scores of unlike judges.)"))
        return replace(section, blocks=(Paragraph((warning,)), *section.blocks), headline=top)

    def make(self, context: BuildContext) -> dict[str, object]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):  # many small products: threads only wait for each other
            result = self.analyse(context)
        for name, rows in result.tables.items():
            write_table(table(rows), context.folder / f"{name}.parquet")
        write_json(dict(result.facts), context.folder / "result.json")
        return {"rows": {name: len(rows) for name, rows in result.tables.items()}}

    def value(self, store: Store) -> AnalysisTables:
        """Its tables and facts."""
        folder = store.path(self)
        tables = {path.stem: read_table(path) for path in sorted(folder.glob("*.parquet"))}
        return AnalysisTables(self.kind, tables, read_json(folder / "result.json"))

    def read_result(self, folder: Path) -> AnalysisResult:
        """What `make` wrote into the artefact's folder."""
        tables = {path.stem: read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}
        return AnalysisResult(tables, read_json(folder / "result.json"))
