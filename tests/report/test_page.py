"""The page shows hostile text as text, allows no network and no script, and links every number to its table."""

import re

import pytest

from spillover.analyses.blocks import (
    AnswersSideBySide,
    Column,
    Figure,
    Number,
    Paragraph,
    Section,
    ShownAnswer,
    Table,
    interval_text,
    value_text,
)
from spillover.report.figures import draw_svg
from spillover.report.latex import latex_table
from spillover.report.page import Page, PageSection, render
from spillover.report.provenance_section import Provenance
from spillover.report.visible import visible_text

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \u202eevil\u202c \x1b[31m {{ 7 * 7 }} \ud800"
ROW = {"data": HOSTILE, "prompt": HOSTILE, "supervised": "s", "supervised_tokens": 1, "tokens": 2}
RAN = Provenance((("Model", HOSTILE),), (ROW | {"cut_rows": 0, "rows": 1},), (), (("judge/1", HOSTILE),))


def draw(figure):
    figure.subplots().plot([0, 1], [0, 1])


def page() -> str:
    figure = Figure("loss", f"caption {HOSTILE}", draw, "points")
    blocks = (
        Paragraph(("r = ", Number("0.50", "points"), HOSTILE)),
        figure,
        Table("points", HOSTILE, (Column("a", "a"), Column("b", "b", "points")), [{"a": HOSTILE, "b": None}] * 80),
        AnswersSideBySide(HOSTILE, HOSTILE, (ShownAnswer(HOSTILE, HOSTILE, "length", {"aligned": None}),)),
    )
    section = Section("Title", HOSTILE, blocks, Paragraph((HOSTILE, Number("1.0", "points"))))
    return render(Page(HOSTILE, HOSTILE, [PageSection("dynamics", section, {"loss": draw_svg(figure)})], RAN))


def test_hostile_text_is_shown_and_never_run():
    html = page()
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html  # a template in an answer is not rendered
    for bad in ("\u202e", "\x1b", "\ud800"):
        assert bad not in html
    assert visible_text("a\nb\tc") == "a\nb\tc"


def test_the_policy_allows_no_network_and_the_style_matches_its_hash():
    import base64
    import hashlib

    html = page()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    text = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in text
    assert "script-src 'none'" in text  # this page has no answers, and so no script
    assert "unsafe" not in text
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert digest in text.replace("&#43;", "+").replace("&#61;", "=")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert addresses
    assert all(re.match(r"#|tables/|figures/|data:image/svg", address) for address in addresses)
    assert " style=" not in re.sub(r'src="data:[^"]+"', "", html)


def test_numbers_link_to_their_table():
    assert '<a class="n" href="tables/dynamics_points.csv">0.50</a>' in page()


def test_a_figure_is_the_same_bytes_each_time():
    figure = Figure("loss", "c", draw, "points")
    assert draw_svg(figure) == draw_svg(figure)
    assert b"20" + b"26-" not in draw_svg(figure)


@pytest.mark.parametrize(
    "value,style,text",
    [
        (None, "points", "\u2013"),
        (float("nan"), "r", "\u2013"),
        (-0.04, "points", "0.0"),
        (-3.21, "points", "\u22123.2"),
        (0.247, "percent", "24.7%"),
        (0.0004, "p", "<0.001"),
        (float("-inf"), "points", "\u2212\u221e"),
        (1234, "count", "1,234"),
    ],
)
def test_values_as_text(value, style, text):
    assert value_text(value, style) == text


def test_an_interval_needs_both_ends():
    assert interval_text({"estimate": 1.0, "low": None, "high": 2.0}, "points") == "1.0"
    assert (
        interval_text({"estimate": 1.0, "low": 0.5, "high": 2.0}, "points").replace("\u00a0", " ") == "1.0 [0.5, 2.0]"
    )


def test_a_table_as_latex_escapes_what_latex_reads():
    rows = [{"a": "50% of $x_1 & {y}\\", "b": -1.5}]
    text = latex_table(Table("t", "A caption\nof two lines", (Column("a", "a_b"), Column("b", "b", "points")), rows))
    assert text.splitlines()[:2] == ["% A caption of two lines", r"\begin{tabular}{lr}"]
    assert r"50\% of \$x\_1 \& \{y\}\textbackslash{} & $-$1.5 \\" in text
