"""Every answer with its scores, and some side by side: the rows that all numbers come from."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import AnswersSideBySide, Block, Number, Section, ShownAnswer, paragraph
from spillover.analyses.rows import TableRows, rows_where
from spillover.analyses.scores import AnswerScores, read_scores
from spillover.judgements.scored_answers import ANSWER_COLUMNS, ScoredAnswers
from spillover.store import BuildContext


class Examples(Analysis):
    """Answers of several models to the same questions side by side, and all of them as a table.

    Estimates nothing. A report of several analyses has all answers anyway: there it says which models stand side by
    side where no Effect does, and has no section of its own. Alone it shows questions evenly spaced over the change of
    their mean score (points) from the first model to the second, so that nothing is picked by hand.
    """

    judgements: tuple[ScoredAnswers, ...]  # the columns of the page, the base first
    others: tuple[ScoredAnswers, ...] = ()  # in the table only
    shown: int = Field(default=6, ge=1)

    def analyse(self, context: BuildContext) -> AnalysisResult:
        scores = [read_scores(scored, context.store) for scored in (*self.judgements, *self.others)]
        metrics = list(self.judgements[0].metrics)
        rows = [row for model in scores for row in _rows(model, metrics)]
        picked = _picked(scores[0], scores[1] if len(scores) > 1 else scores[0], metrics[0], self.shown)
        models = [model.label for model in scores[: len(self.judgements)]]
        return AnalysisResult({"answers": rows}, {"models": models, "picked": picked, "metrics": metrics})

    def show(self, result: AnalysisResult) -> Section:
        rows, metrics = result.tables["answers"], result.facts["metrics"]
        blocks: list[Block] = [
            paragraph(
                "{answers} stand beside this page with their scores. Shown are questions evenly spaced from the "
                "largest fall of the mean {metric} score to the largest rise, each with the first answer asked "
                "without a format (sample 0): picked by that rule, not by hand.",
                answers=Number(f"All {len(rows):,} answers", "answers"),
                metric=metrics[0],
            )
        ]
        for name, note in result.facts["picked"]:
            asked = rows_where(rows, question_id=name, sample=0)
            answers = tuple(
                ShownAnswer(
                    row["model"], row["answer"], row["finish_reason"], {metric: row[metric] for metric in metrics}
                )
                for row in asked
                if row["model"] in result.facts["models"]
            )
            blocks.append(AnswersSideBySide(asked[0]["prompt"], note, answers))
        return Section("Answers side by side", "What do the models say?", tuple(blocks))


def _rows(scores: AnswerScores, metrics: list[str]) -> TableRows:
    names = (*ANSWER_COLUMNS, *metrics, "missing")
    cells = zip(*(scores[name].tolist() for name in names), strict=True)
    return [{"model": scores.label, **dict(zip(names, row, strict=True))} for row in cells]


def _picked(before: AnswerScores, after: AnswerScores, metric: str, count: int) -> list[tuple[str, str]]:
    """Question ids asked without a format, evenly spaced over the change of their question's mean."""
    names = list(before.questions())
    change = after.means(metric, names) - before.means(metric, names)
    order = [index for index in np.argsort(change, kind="stable") if np.isfinite(change[index])]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    picked = []
    for index in (order[place] for place in np.unique(places)):
        asked = before.rows_by("question")[names[index]]
        ids, formats = before["question_id"][asked], before["format"][asked]
        plain = ids[formats == "raw"] if (formats == "raw").any() else ids
        points = f"{change[index]:+.1f}".replace("-", "\u2212")
        picked.append((str(plain[0]), f"{names[index]}: mean {metric} changed by {points} points"))
    return picked
