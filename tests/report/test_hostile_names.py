"""Names that models, judges and questions have are hostile too: figures stay XML, headings stay harmless."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spillover.analyses.blocks import Figure, Section
from spillover.report.figures import draw_svg
from spillover.report.page import Page, render, write_section
from spillover.report.provenance_section import Provenance

NAMES = [
    "a\x1b[2Jb",
    "a\x00b",
    "a\x0bb",
    "\ufffe",
    "$\\frac$",
    "$x^$",
    "-->",
    "<script>",
    "]]>",
    "\u202e",
    "x" * 3000,
]


def figure(name: str) -> Figure:
    def draw(canvas: object) -> None:
        axes = canvas.subplots()  # type: ignore[attr-defined]
        axes.barh([name, "other"], [1, 2], label=name)
        axes.set_title(name)
        axes.legend()

    return Figure("one", "A caption.", draw, "t", (4.0, 2.0))


@pytest.mark.filterwarnings("ignore")  # of glyphs that no font has, and of names longer than the figure
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_figure_is_xml_whatever_stands_in_it(name: str) -> None:
    svg = draw_svg(figure(name))
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and not [node for node in root.iter() if node.tag.endswith("script")]


def test_a_name_in_a_heading_is_harmless(tmp_path: Path) -> None:
    for folder in ("tables", "figures"):
        (tmp_path / folder).mkdir()
    name = "endpoint/1 a\x1b[2J\u202e<b>"
    part = write_section("agreement", Section(title=name, asks=name, blocks=()), {}, tmp_path)
    page = render(Page("t", "", [part], Provenance((), (), (), ((name, name),))))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page) and "<b>" not in page
    assert page.count("a\ufffd[2J\ufffd&lt;b&gt;") >= 4  # in the contents, two headings and a text
