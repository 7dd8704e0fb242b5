"""Two studies held against each other, question by question: did one spill over more than the other?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Section, Table, columns, number, paragraph
from spillover.analyses.effect import SIDES, Effect
from spillover.analyses.figures import COLOURS, grid
from spillover.analyses.rows import TableRow, TableRows, add_q_values, row_where, rows_where
from spillover.analyses.scores import SCALE, AnswerScores, pool_runs, read_scores
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.maths.paired import paired_mean
from spillover.store import BuildContext, Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ALIKE = ("judge", "scores", "rubric", "prompting", "formats")  # conditions that the two studies have to share
ARMS = ("bad", "good", "own", "base")


class Comparison(Analysis):
    """The second study less the first, paired by question: each arm's mean score, and each contrast of arms.

    Estimates are means over the questions that both asked, points. Arms: 95% intervals over families of questions, and
    over training runs where an arm has several. Contrasts: the difference of the two studies' differences (second's
    bad - good less first's, say), paired by question, with intervals over families of questions (percentile-t and
    families changing sides, the wider counts); they speak of these training runs. q is Benjamini-Hochberg's over each
    table. ValueError where judges, rubrics, prompting or formats differ: then the difference is one of conditions.
    """

    first: Effect
    second: Effect
    names: tuple[str, str] = ("first", "second")  # of the studies, for people
    draws: int = 2000

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.first == self.second:
            raise ValueError("the two studies are the same: compare two that differ")
        if len(self.names) != 2 or self.names[0] == self.names[1]:
            raise ValueError(f"names are two that differ, got {self.names}")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        sides = [_arms(effect) for effect in (self.first, self.second)]
        self._refuse_unlike([run for arms in sides for runs in arms.values() for run in runs])
        first, second = ({arm: _pooled(runs, arm, context.store) for arm, runs in arms.items()} for arms in sides)
        shared = [arm for arm in ARMS if arm in first and arm in second]
        metrics = [metric for metric in self.first.before.metrics if metric in self.second.before.metrics]
        resampling = Resampling(self.draws)
        arms: TableRows = [
            {"arm": arm, "metric": metric, **_means(first[arm], second[arm], metric)}
            | second[arm].difference(first[arm], metric, resampling).as_row()
            for arm in shared
            for metric in metrics
        ]
        contrasts: TableRows = []
        questions: TableRows = []
        for left, right in combinations(shared, 2):
            for metric in metrics:
                rows = _question_gaps(first, second, left, right, metric)
                place = {"contrast": f"{left}-{right}", "metric": metric}
                questions += [place | row for row in rows]
                contrasts.append(place | _gap_of_gaps(rows, resampling))
        if not questions:
            raise ValueError("the two studies have no question in common: there is nothing to pair")
        for rows in (arms, contrasts):
            add_q_values(rows)
        return AnalysisResult(
            {"arms": arms, "contrasts": contrasts, "questions": questions},
            {"names": list(self.names), "contrast": contrasts[0]["contrast"]},
        )

    def show(self, result: AnalysisResult) -> Section:
        first, second = result.facts["names"]
        main = row_where(result.tables["contrasts"], contrast=result.facts["contrast"], metric="aligned")
        left, right = (SIDES[side] for side in str(result.facts["contrast"]).split("-"))
        moved = rows_where(result.tables["questions"], contrast=result.facts["contrast"], metric="aligned")
        verdict = "The interval leaves 0 out." if _clear(main) else "The interval holds 0: no clear difference."
        shown = columns("points", first="first", second="second")
        return Section(
            "Two studies, question by question",
            f"Did {second} move the model more than {first}?",
            (
                Figure(
                    "questions",
                    f"{left} minus {right} in aligned of each question that both studies asked: {first} across, "
                    f"{second} up. On the line both moved alike; below it {second} moved further down.",
                    lambda canvas: _draw(canvas, moved, first, second),
                    "questions",
                    (5.0, 4.4),
                ),
                Table(
                    "contrasts",
                    f"Differences between arms in {first} and in {second}, and the second less the first, paired by "
                    "question; q over this table.",
                    (
                        *(*columns("text", contrast="contrast", metric="metric"), *shown),
                        Column("estimate", "second less first [95%]", "points", interval=True),
                        *(Column("n", "questions", "count"), Column("q", "q", "p")),
                    ),
                    result.tables["contrasts"],
                    open=True,
                ),
                Table(
                    "arms",
                    "Mean scores of each arm over shared questions, and the second less the first.",
                    (
                        *(*columns("text", arm="arm", metric="metric"), *shown),
                        Column("estimate", "second less first [95%]", "points", interval=True),
                        *(Column("n", "questions", "count"), Column("q", "q", "p")),
                    ),
                    result.tables["arms"],
                ),
            ),
            paragraph(
                "{left} minus {right} is {first_gap} points of aligned in {first} and {second_gap} in {second}: a "
                "difference of {estimate:points} (95% interval over {questions} shared questions, these training "
                "runs). {verdict}",
                main,
                "contrasts",
                left=left,
                right=right,
                first=first,
                second=second,
                first_gap=number(main, "contrasts", name="first"),
                second_gap=number(main, "contrasts", name="second"),
                questions=int(main["n"]),
                verdict=verdict,
            ),
        )

    def _refuse_unlike(self, sets: Sequence[ScoredAnswers]) -> None:
        ours = sets[0].conditions()
        for other in sets[1:]:
            theirs = other.conditions()
            for what in (name for name in ALIKE if name in ours and name in theirs):
                if ours[what].unlike(theirs[what]) and not self.allow_unlike_judges:
                    raise ValueError(
                        f"{sets[0].subject} and {other.subject} cannot be compared: {what} "
                        f"{ours[what].describe()!r} against {theirs[what].describe()!r}"
                    )


def _arms(effect: Effect) -> dict[str, tuple[ScoredAnswers, ...]]:
    arms = {"bad": effect.bad, "good": effect.good, "own": effect.own, "base": (effect.before,)}
    return {arm: runs for arm, runs in arms.items() if runs}


def _pooled(runs: Sequence[ScoredAnswers], arm: str, store: Store) -> AnswerScores:
    return pool_runs([read_scores(run, store) for run in runs], arm)


def _shared(*sides: AnswerScores) -> list[str]:
    """Questions that all sides were asked, in the first one's order."""
    return [name for name in sides[0].questions() if all(name in side.questions() for side in sides[1:])]


def _means(first: AnswerScores, second: AnswerScores, metric: str) -> TableRow:
    names = _shared(first, second)
    return {
        name: float(np.nanmean(side.means(metric, names))) if names else None
        for name, side in (("first", first), ("second", second))
    }


def _question_gaps(
    first: Mapping[str, AnswerScores], second: Mapping[str, AnswerScores], left: str, right: str, metric: str
) -> TableRows:
    names = _shared(first[left], first[right], second[left], second[right])
    about = first[left].questions()
    gaps = [side[left].means(metric, names) - side[right].means(metric, names) for side in (first, second)]
    return [
        {"question": name, "family": about[name]["family"], "category": about[name]["category"]}
        | {"first": float(before), "second": float(after)}
        for name, before, after in zip(names, *gaps, strict=True)
    ]


def _gap_of_gaps(rows: TableRows, resampling: Resampling) -> TableRow:
    """The mean over questions of the second's difference less the first's; a gap lies within twice the scale."""
    first, second = (np.array([row[name] for row in rows], dtype=float) for name in ("first", "second"))
    both = np.isfinite(first) & np.isfinite(second)
    bounded = Resampling(resampling.draws, bounds=(-SCALE[1], SCALE[1]))
    gap = paired_mean(second - first, [str(row["family"]) for row in rows], bounded)
    means = {
        name: float(values[both].mean()) if both.any() else None
        for name, values in (("first", first), ("second", second))
    }
    return means | gap.as_row()


def _clear(row: TableRow) -> bool:
    return row.get("low") is not None and row.get("high") is not None and not row["low"] <= 0 <= row["high"]


def _draw(canvas: Canvas, rows: TableRows, first: str, second: str) -> None:
    axes = canvas.subplots()
    axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8)
    axes.plot([row["first"] for row in rows], [row["second"] for row in rows], "o", color=COLOURS["bad"], markersize=4)
    axes.set(xlabel=f"{first}, points", ylabel=f"{second}, points")
    axes.set_aspect("equal", adjustable="datalim")
    grid(axes)
