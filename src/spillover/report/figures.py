"""Figures as SVG by matplotlib: the same bytes for the same rows."""

from __future__ import annotations

import io

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
}


def draw_svg(figure: Figure) -> bytes:
    """The figure as SVG; nothing in it names a time or a version."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        FigureCanvasSVG(canvas)
        figure.draw(canvas)
        out = io.BytesIO()
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": "spillover"})
    return out.getvalue()
