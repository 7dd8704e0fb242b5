"""Every answer with its scores, and some side by side: the rows that all numbers come from. Knows no statistic."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import AnswersBlock, Number, Paragraph, Section, ShownAnswer
from spillover.analyses.scores import Scores, questions_of, read
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.store import BuildContext

COLUMNS = (
    "question_id",
    "question",
    "family",
    "category",
    "format",
    "sample",
    "prompt",
    "answer",
    "finish_reason",
    "tokens",
)


class Examples(Analysis):
    """Answers of several models to the same questions side by side, and all of them as a table."""

    judgements: tuple[ScoredAnswers, ...]  # the columns of the page, the base first
    others: tuple[ScoredAnswers, ...] = ()  # in the table only
    shown: int = Field(default=6, ge=1)

    def analyse(self, context: BuildContext) -> AnalysisResult:
        scores = [read(one, context.store) for one in (*self.judgements, *self.others)]
        metrics = list(self.judgements[0].metrics)
        rows = [row for one in scores for row in _rows(one, metrics)]
        picked = _picked(scores[0], scores[1] if len(scores) > 1 else scores[0], metrics[0], self.shown)
        models = [one.label for one in scores[: len(self.judgements)]]
        return AnalysisResult({"answers": rows}, {"models": models, "picked": picked, "metrics": metrics})

    def show(self, result: AnalysisResult) -> Section:
        rows, facts = result.tables["answers"], result.facts
        blocks: list[Any] = [
            Paragraph(
                (
                    Number(f"All {len(rows):,} answers", "answers"),
                    " stand beside this page with their scores. Shown are questions evenly spaced from the "
                    f"largest fall of the mean {facts['metrics'][0]} score to the largest rise, each with the first "
                    "answer asked without a format (sample 0): picked by that rule, not by hand.",
                )
            )
        ]
        for name, note in facts["picked"]:
            mine = [row for row in rows if row["question_id"] == name and row["sample"] == 0]
            answers = tuple(
                ShownAnswer(row["model"], row["answer"], row["finish_reason"], {m: row[m] for m in facts["metrics"]})
                for row in mine
                if row["model"] in facts["models"]
            )
            blocks.append(AnswersBlock(mine[0]["prompt"], note, answers))
        return Section("Answers side by side", "What do the models say?", tuple(blocks))


def _rows(scores: Scores, metrics: list[str]) -> list[dict[str, Any]]:
    columns = {name: scores[name].tolist() for name in (*COLUMNS, *metrics, "missing")}
    return [
        {"model": scores.label, **{name: values[index] for name, values in columns.items()}}
        for index in range(len(scores))
    ]


def _picked(before: Scores, after: Scores, metric: str, count: int) -> list[tuple[str, str]]:
    """Question ids asked without a format, evenly spaced over the change of their question's mean."""
    names, _ = questions_of(before)
    change = after.means(metric, names) - before.means(metric, names)
    order = [index for index in np.argsort(change, kind="stable") if np.isfinite(change[index])]
    places: Any = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)) if order else []
    found = []
    for place in places:
        name = names[order[place]]
        ids = before["question_id"][before["question"] == name]
        formats = before["format"][before["question"] == name]
        plain = ids[formats == "raw"] if (formats == "raw").any() else ids
        found.append((str(plain[0]), f"{name}: mean {metric} changed by {_signed(change[order[place]])} points"))
    return found


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")
