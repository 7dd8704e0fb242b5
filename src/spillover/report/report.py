"""The report of a study: an artefact whose folder holds the page, its tables and its figures."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypedDict

from pydantic import Field

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import AnswersSideBySide
from spillover.analyses.effect import Effect
from spillover.analyses.examples import Examples
from spillover.analyses.figures import arms_coloured
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.records import table, write_csv, write_table
from spillover.report.answers import JudgedModel, PackedAnswers, arms_by_run, judged_models, packed, write_answers
from spillover.report.answers_section import most_moved, plane
from spillover.report.page import DrawnFigure, Page, PageSection, render, write_figure, write_section
from spillover.report.provenance_section import provenance_of
from spillover.report.questions_section import QuestionPart, question_part
from spillover.report.threats import Study, threats, threats_section
from spillover.spec import Spec, walk
from spillover.store import Artefact, BuildContext, Cost, Store

PAGE = "index.html"
THREATS = "threats"  # name of the section
# Where an analysis stands on the page.
ORDER = {
    **{"Effect": 0, "Dynamics": 2, "Trajectories": 2, "Minima": 2, "Priors": 3, "Prediction": 4, "Geometry": 5},
    **{"Steering": 6, "Surface": 8, "Examples": 9, "Agreement": 9, "Audit": 9},
}
MIDDLE = 7
AGREES = r"correlat|agree|AUC|Spearman|Pearson|kappa"


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

    version: ClassVar[int] = 2  # 1 had no answers, no threats and no script

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
        for folder in ("tables", "figures"):
            (context.folder / folder).mkdir()
        analyses = in_reading_order(named(self.analyses))
        if len(analyses) > 1:  # the page has all answers, and those side by side that an Examples names
            analyses = {name: analysis for name, analysis in analyses.items() if not isinstance(analysis, Examples)}
        results, parts = {}, []
        for done, (name, analysis) in enumerate(analyses.items(), start=1):
            result = results[analysis] = analysis.read_result(context.path(analysis))
            with arms_coloured(arms_by_run(self)):
                parts.append(write_section(name, analysis.section(result), result.tables, context.folder))
            context.progress(done / (len(self.analyses) + 2))
        models = judged_models(self, context.store)
        effect = next((result for analysis, result in results.items() if isinstance(analysis, Effect)), None)
        parts.append(self._threats(results, models, context))
        page = Page(
            self.title,
            self.about,
            parts,
            provenance_of(self, context.store),
            carried_by(self, results, models),
            unfolded=() if not models else (parts[0].name, THREATS),
        )
        if models:
            page = replace(page, **answers_of_page(models, effect, context.folder))
        tables = sorted(path.name for path in (context.folder / "tables").iterdir())
        html_text = render(replace(page, tables=tables))
        (context.folder / PAGE).write_text(html_text, encoding="utf-8", errors="replace")
        return {"tables": len(tables), "page_bytes": len(html_text.encode("utf-8", "replace"))}

    def _threats(
        self, results: Mapping[Analysis, AnalysisResult], models: Sequence[JudgedModel], context: BuildContext
    ) -> PageSection:
        section, rows = threats_section(threats(Study(self, results, models, context.store)))
        return write_section(THREATS, section, {"threats": rows} if rows else {}, context.folder)


class PageAnswers(TypedDict):
    """What a page has of single answers."""

    models: Sequence[JudgedModel]
    answers: PackedAnswers
    moved: Sequence[AnswersSideBySide]
    plane: DrawnFigure | None
    questions: QuestionPart | None


def answers_of_page(models: Sequence[JudgedModel], effect: AnalysisResult | None, folder: Path) -> PageAnswers:
    """All answers packed, the most moved, the plane and the questions; their tables and figures into `folder`."""
    write_answers(models, folder / "tables")
    drawn, questions = plane(models), question_part(models, effect)
    if questions is not None:
        write_csv(table(questions.table), folder / "tables" / "questions.csv")
        write_table(table(questions.table), folder / "tables" / "questions.parquet")
        write_figure(questions.figure, folder / "figures" / "questions")
    return {
        "models": models,
        "answers": packed(models),
        "moved": most_moved(models),
        "plane": DrawnFigure(drawn, write_figure(drawn, folder / "figures" / "plane").svg) if drawn else None,
        "questions": questions,
    }


def carried_by(study: Spec, results: Mapping[Analysis, AnalysisResult], models: Sequence[JudgedModel]) -> list[str]:
    """What the headline stands on, in short: questions, answers, training runs, and each judge's measured agreement."""
    if not models:
        return []
    base = models[0].scores
    answers = sum(len(model.scores) for model in models)
    families = len(set(base["family"].tolist()))
    facts = [
        f"{len(base.questions()):,} questions in {families:,} families, {answers:,} answers of {len(models)} models"
    ]
    for analysis, result in results.items():
        if isinstance(analysis, Effect):
            runs = [f"{count} {arm}" for arm, count in result.facts["runs"].items() if count]
            facts.append(f"training runs: {', '.join(runs)}")
    cards = {part.judge_name: part.judge_card() for part in walk(study) if isinstance(part, ScoredAnswers)}
    return [*facts, *(f"judge {name}: {measured_agreement(card)}" for name, card in cards.items())]


def measured_agreement(card: str) -> str:
    """The sentence of a judge's card that says by how much it agrees with another judge or with people."""
    sentences = re.split(r"(?<=[.;])\s+", " ".join(card.split()))
    told = [text for text in sentences if re.search(r"\d", text) and re.search(AGREES, text)]
    return told[0].rstrip(".;") if told else "its agreement with people or other judges is not in its card"


def in_reading_order(analyses: Mapping[str, Analysis]) -> dict[str, Analysis]:
    """The effect first, then what shaped it, then what checks it; others stay where they stood, after the first."""
    place = {name: ORDER.get(analysis.kind, MIDDLE) for name, analysis in analyses.items()}
    first = next(iter(analyses))
    place[first] = min(place[first], 0) if min(place.values()) > 0 else place[first]
    return {name: analyses[name] for name in sorted(analyses, key=lambda name: place[name])}


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
