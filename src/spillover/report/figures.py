"""Figures as SVG and PDF by matplotlib: the same bytes for the same rows."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from spillover.analyses.blocks import Figure

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # letters of names, say
STYLE = {
    "svg.hashsalt": "spillover",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.4",
    "axes.axisbelow": True,
    "legend.handlelength": 1.4,
    "pdf.fonttype": 42,  # fonts that journals take
    "savefig.transparent": True,
}


@dataclass(frozen=True)
class Drawing:
    """A figure's files."""

    svg: bytes
    pdf: bytes


def draw(figure: Figure) -> Drawing:
    """The figure as SVG and as PDF; nothing in them names a time or a version."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    def drawn() -> Drawing:
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.draw(canvas)
        svg, pdf = io.BytesIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", dpi=160, metadata={"Date": None, "Creator": "spillover"})
        canvas.savefig(pdf, format="pdf", dpi=220, metadata={"CreationDate": None, "Creator": "spillover"})
        return Drawing(_NOT_XML.sub("\ufffd", svg.getvalue().decode("utf-8", "replace")).encode(), pdf.getvalue())

    with matplotlib.rc_context(STYLE):
        try:
            return drawn()
        except ValueError:  # a name that is no formula, though it has two dollars
            with matplotlib.rc_context({"text.parse_math": False}):
                return drawn()


def draw_svg(figure: Figure) -> bytes:
    """The figure as SVG."""
    return draw(figure).svg
