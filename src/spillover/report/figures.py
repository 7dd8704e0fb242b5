"""Figures as SVG and PDF by matplotlib: the same bytes for the same rows."""

from __future__ import annotations

import io
from dataclasses import dataclass

from spillover.analyses.blocks import Figure

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

    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasAgg(canvas)
        figure.draw(canvas)
        svg, pdf = io.BytesIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", dpi=160, metadata={"Date": None, "Creator": "spillover"})
        canvas.savefig(pdf, format="pdf", dpi=220, metadata={"CreationDate": None, "Creator": "spillover"})
    return Drawing(svg.getvalue(), pdf.getvalue())


def draw_svg(figure: Figure) -> bytes:
    """The figure as SVG."""
    return draw(figure).svg
