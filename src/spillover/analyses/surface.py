"""What tells the bad from the good training answers besides the advice: form, function words, all words."""

from __future__ import annotations

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Section, Table, columns, number, paragraph
from spillover.analyses.rows import row_where
from spillover.organisms.dataset import Split
from spillover.organisms.surface import FORM, surface_check
from spillover.store import BuildContext

TELLING = 0.6  # AUC of form above which bad minus good may hold form too


class Surface(Analysis):
    """How well a classifier tells bad from good answers to the same prompts by their form, or by their words.

    All rows of the two sets are read, those too that are not trained on (`organisms.surface`). A difference between
    models trained on a pair that form tells apart may be one of form.
    """

    bad: Split
    good: Split

    def analyse(self, context: BuildContext) -> AnalysisResult:
        checked = surface_check(self.bad, self.good)
        rows = [{"by": name, **estimate.as_row()} for name, estimate in checked.items()]
        return AnalysisResult({"surface": rows}, {"bad": self.bad.label(), "good": self.good.label()})

    def show(self, result: AnalysisResult) -> Section:
        rows = result.tables["surface"]
        form = row_where(rows, by=FORM)
        least = form["estimate"] if form["low"] is None else form["low"]  # told without a mistake, it has no interval
        return Section(
            "The training answers",
            "Do bad and good training answers differ in anything but the advice?",
            (
                paragraph(
                    "Of two answers to held-out prompts of {bad} and {good}, a classifier that sees form alone (words, "
                    "sentences, their lengths, punctuation, openings) picks the bad one with probability {form}; 0.5 "
                    "is chance. {verdict} Function words tell more, for advice needs them; all words stand beside it "
                    "to compare with.",
                    bad=str(result.facts["bad"]),
                    good=str(result.facts["good"]),
                    form=number(form, "surface", "r"),
                    verdict=_TELLS if least > TELLING else _HARDLY,
                ),
                Table(
                    "surface",
                    "How well classifiers tell bad from good answers (AUC, prompts kept together in five folds; 95% "
                    "intervals over prompts).",
                    (*columns("text", by="sees"), Column("estimate", "AUC [95%]", "r", interval=True)),
                    rows,
                ),
            ),
        )


_HARDLY = f"That is not surely above {TELLING:g}: form alone makes little of bad minus good."
_TELLS = (
    f"That is above {TELLING:g}: bad minus good may hold form as well as advice. Write answers that are equal in "
    "length, tone and opening."
)
