"""The page: sections into one HTML file that opens without network, its tables and figures beside it.

Everything that models wrote is hostile: the template escapes all text, control characters become visible marks, and a
content security policy allows nothing but this page's own style and the pictures inside it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
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
from spillover.records import table, write_csv
from spillover.report.figures import draw_svg
from spillover.report.provenance_section import Provenance

KEPT = "\n\t"
DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
ROWS = 60  # of a table on the page; the CSV has all
FOLDED = 12  # rows above which a table is folded away until asked for


@dataclass(frozen=True)
class PageSection:
    """One analysis' section with the name of its tables and its drawn figures (SVG bytes by name)."""

    name: str
    section: Section
    figures: Mapping[str, bytes]


def write_section(name: str, section: Section, tables: Mapping[str, TableRows], folder: Path) -> PageSection:
    """Write the section's tables (`folder/tables/NAME_TABLE.csv`) and figures (`folder/figures/NAME_FIGURE.svg`)."""
    for table_name, rows in tables.items():
        write_csv(table(rows), folder / "tables" / f"{name}_{table_name}.csv")
    figures = {block.name: draw_svg(block) for block in section.blocks if isinstance(block, Figure)}
    for figure_name, svg in figures.items():
        (folder / "figures" / f"{name}_{figure_name}.svg").write_bytes(svg)
    return PageSection(name, section, figures)


def render(title: str, about: str, parts: Sequence[PageSection], provenance: Provenance) -> str:
    """The whole page."""
    style = _read("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return _template().render(
        title=title,
        about=about,
        parts=parts,
        provenance=provenance,
        style=Markup(style),
        policy=policy,
        rows=ROWS,
        folded=FOLDED,
    )


def visible_text(text: object) -> str:
    """Text with control characters and direction marks replaced by U+FFFD, so that nothing hides or reorders."""
    return "".join(
        "\ufffd"
        if letter in DIRECTIONS or (unicodedata.category(letter) in ("Cc", "Cs") and letter not in KEPT)
        else letter
        for letter in str(text)
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


def data_address(svg: bytes) -> str:
    """An SVG as a data address: as an image it can run nothing and fetch nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def block_kind(block: Block) -> str:
    """Which part of the template shows a block."""
    kinds = {Paragraph: "paragraph", Figure: "figure", Table: "table", AnswersSideBySide: "answers"}
    return (kinds | {ShadedAnswer: "shaded"})[type(block)]


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"visible_text": visible_text, "data_address": data_address, "kind": block_kind}
    environment.globals |= {"value_text": value_text, "linked_text": linked_text}
    return environment.from_string(_read("page.html"))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
