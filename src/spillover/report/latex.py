"""What a table of the page shows, as LaTeX to paste into a paper (package booktabs)."""

from __future__ import annotations

from spillover.analyses.blocks import Table
from spillover.report.visible import visible_text

SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"\u2212": "$-$", "\u2013": "--", "\u00a0": "~", "\u221e": r"$\infty$", "\u00b2": "$^2$", "\n": " ", "\t": " "},
}


def latex_table(table: Table) -> str:
    """A `tabular` with the columns and rows of the page, and the caption as a comment above it."""
    columns = "".join("r" if column.numeric else "l" for column in table.columns)
    head = " & ".join(latex_text(column.heading) for column in table.columns)
    body = [" & ".join(latex_text(column.cell(row)) for column in table.columns) for row in table.rows]
    caption = " ".join(visible_text(table.caption).split())
    lines = [f"% {caption}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{head} \\", r"\midrule"]
    return "\n".join([*lines, *(rf"{row} \\" for row in body), r"\bottomrule", r"\end{tabular}", ""])


def latex_text(text: object) -> str:
    """Text with everything escaped that LaTeX would read as more than a letter."""
    return "".join(SPECIAL.get(letter, letter) for letter in visible_text(text))
