"""The page: sections into one HTML file that opens without network, its tables and figures beside it.

Everything that models wrote is hostile: templates escape all text, control characters become visible marks, the script
enters it as text alone, and a content security policy allows this page's own style and script, by their hashes, the
pictures inside it, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from spillover.analyses.blocks import (
    AnswersSideBySide,
    Block,
    Figure,
    Number,
    Paragraph,
    Section,
    ShadedAnswer,
    Table,
    value_text,
)
from spillover.analyses.rows import TableRows
from spillover.records import table, write_csv, write_table
from spillover.report.answers import JudgedModel, PackedAnswers
from spillover.report.figures import Drawing, draw
from spillover.report.latex import latex_table
from spillover.report.provenance_section import Provenance
from spillover.report.questions_section import QuestionPart
from spillover.report.visible import visible_text

ROWS = 60  # of a table on the page; the CSV has all
QUESTIONS = 400  # of the table of questions
FOLDED = 12  # rows above which a table is folded away until asked for


@dataclass(frozen=True)
class PageSection:
    """One analysis' section with the name of its tables and its drawn figures (SVG bytes by name)."""

    name: str
    section: Section
    figures: Mapping[str, bytes]


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the page itself, with its SVG."""

    block: Figure
    svg: bytes


@dataclass(frozen=True)
class Page:
    """All that a page shows. Without `answers` it has no script."""

    title: str
    about: str
    parts: Sequence[PageSection]
    provenance: Provenance
    carries: Sequence[str] = ()  # what the headline stands on: judge, questions, answers, runs
    unfolded: Sequence[str] = ()  # parts whose short tables are open
    models: Sequence[JudgedModel] = ()
    answers: PackedAnswers | None = None
    moved: Sequence[AnswersSideBySide] = ()
    plane: DrawnFigure | None = None
    questions: QuestionPart | None = None
    tables: Sequence[str] = ()  # files
    reload: int = 0  # seconds after which a browser loads it again, of a study that is being made; 0: never


def write_section(name: str, section: Section, tables: Mapping[str, TableRows], folder: Path) -> PageSection:
    """Write the section's tables and figures into `folder/tables` and `folder/figures`.

    `NAME_TABLE` as CSV and parquet, what the page shows of it as LaTeX; `NAME_FIGURE` as SVG and PDF.
    """
    for table_name, rows in tables.items():
        content = table(rows)
        write_csv(content, folder / "tables" / f"{name}_{table_name}.csv")
        write_table(content, folder / "tables" / f"{name}_{table_name}.parquet")
    figures = {}
    for block in section.blocks:
        if isinstance(block, Table):
            (folder / "tables" / f"{name}_{block.name}.tex").write_text(latex_table(block), encoding="utf-8")
        if isinstance(block, Figure):
            figures[block.name] = write_figure(block, folder / "figures" / f"{name}_{block.name}").svg
    return PageSection(name, section, figures)


def write_figure(block: Figure, path: Path) -> Drawing:
    """Draw the figure and write it as `path` with the endings .svg and .pdf."""
    drawing = draw(block)
    path.with_suffix(".svg").write_bytes(drawing.svg)
    path.with_suffix(".pdf").write_bytes(drawing.pdf)
    return drawing


def render(page: Page) -> str:
    """The whole page."""
    style, script = _read("style.css"), _read("page.js")
    scripts = f"'sha256-{_digest(script)}'" if page.answers else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=replace(page, unfolded=page.unfolded or [part.name for part in page.parts]),
            style=Markup(style),
            script=Markup(script),
            policy=policy,
            rows=ROWS,
            folded=FOLDED,
            most_questions=QUESTIONS,
        )
    )


def linked_text(paragraph: Paragraph, name: str) -> Markup:
    """Text with each number as a link to its table."""
    parts = [
        Markup('<a class="n" href="tables/{}_{}.csv">{}</a>').format(name, part.table, visible_text(part.text))
        if isinstance(part, Number)
        else escape(visible_text(part))
        for part in paragraph.parts
    ]
    return Markup("").join(parts)


def side_by_side(block: AnswersSideBySide) -> Markup:
    """Answers of several models to one question, as cards."""
    return Markup(_environment().get_template("side_by_side.html").render(block=block))


def data_address(svg: bytes) -> str:
    """An SVG as a data address: as an image it can run nothing and fetch nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def block_kind(block: Block) -> str:
    """Which part of the template shows a block."""
    kinds = {Paragraph: "paragraph", Figure: "figure", Table: "table", AnswersSideBySide: "answers"}
    return (kinds | {ShadedAnswer: "shaded"})[type(block)]


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_marks,
    )
    environment.filters |= {"visible_text": visible_text, "data_address": data_address, "kind": block_kind}
    environment.globals |= {"value_text": value_text, "linked_text": linked_text, "side_by_side": side_by_side}
    return environment


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _without_marks(value: object) -> object:
    """Whatever the template puts out, names in headings too, as `visible_text`; markup of ours as it is."""
    return visible_text(value) if type(value) is str else value


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
