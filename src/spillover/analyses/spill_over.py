"""The spill-over ratio: how much of what narrow training teaches leaks into questions that it is not about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Figure, Section, Table, columns, interval_text, number, paragraph
from spillover.analyses.figures import COLOURS, band, legend, zero_line
from spillover.analyses.rows import TableRow, TableRows, prefixed, rows_where, untested
from spillover.analyses.scores import (
    JUDGING,
    SCALE,
    SHARE,
    AnswerScores,
    pool_runs,
    read_scores,
    refuse_unlike_scores,
    run_and_step,
)
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.maths.ratio import RatioOfDifferences, ratio_of_differences
from spillover.maths.runs import Arm
from spillover.store import BuildContext, Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SIDES = ("bad", "good", "narrow_bad", "narrow_good")
MEASURES = {"aligned": ("aligned, points", SCALE), "em_strict": ("EM rate", SHARE)}
SHAPES = {
    "outside": "the narrow drop is not told from 0, so the ratio has no bound",
    "everything": "neither drop is told from 0, so the ratio can be anything",
    "unknown": "there are too few families of questions for an interval",
}


class SpillOver(Analysis):
    """What was learnt against what leaked: the drop on unrelated questions over the drop on held-out narrow prompts.

    Estimates, at every step at which all four sets of answers are there, N = mean over held-out narrow prompts of bad
    less good, B = the same over broad questions, and B / N: of aligned in points, and of the strict EM rate as a share.
    N and B have 95% intervals over families of questions and, where an arm has several runs, over training runs; B / N
    has Fieller's interval, in which a run's two drops go together, and a bootstrap over families beside it as a check
    (`maths.ratio`). A ratio of 0 is a training that keeps to its task, one of 1 a training whose harm does not ask what
    the question is about. The ratio is ours; judging the narrow task: arXiv 2506.11613. Both sides need one judge.
    """

    bad: tuple[ScoredAnswers, ...] = Field(min_length=1)  # broad questions; one set a run, or several steps of runs
    good: tuple[ScoredAnswers, ...] = Field(min_length=1)
    narrow_bad: tuple[ScoredAnswers, ...] = Field(min_length=1)  # the same models at held-out narrow prompts (HeldOut)
    narrow_good: tuple[ScoredAnswers, ...] = Field(min_length=1)
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _same_models(self) -> Self:
        for broad, narrow, arm in ((self.bad, self.narrow_bad, "bad"), (self.good, self.narrow_good, "good")):
            models = [{_model(scored) for scored in sets} - {None} for sets in (broad, narrow)]
            if len(broad) != len(narrow) or (all(models) and models[0] != models[1]):
                raise ValueError(
                    f"{arm}: the models asked broad questions and those asked narrow prompts are not the same ones: "
                    f"{', '.join(sorted(scored.subject for scored in (*broad, *narrow)))}"
                )
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        for sets in ((*self.bad, *self.good), (*self.narrow_bad, *self.narrow_good)):
            refuse_unlike_scores(sets, self.allow_unlike_judges)
        refuse_unlike_scores((self.bad[0], self.narrow_bad[0]), self.allow_unlike_judges, JUDGING)
        by_step = {side: _by_step(getattr(self, side), context.store) for side in SIDES}
        steps = sorted(set.intersection(*(set(sets) for sets in by_step.values())))
        if not steps:
            raise ValueError("no step has answers of both arms to both kinds of question: ask both at the same steps")
        resampling = Resampling(self.draws)
        rows: TableRows = []
        for step in steps:
            groups = {
                side: pool_runs([read_scores(s, context.store) for s in by_step[side][step]], side) for side in SIDES
            }
            runs = (len(by_step["bad"][step]), len(by_step["good"][step]))
            rows += [_row(measure, step, runs, groups, resampling) for measure in _measures(groups)]
        last = [dict(row) for row in rows if row["step"] == steps[-1]]
        return AnalysisResult({"ratios": last, "along": rows}, {"steps": steps, "judge": self.bad[0].judge_name})

    def show(self, result: AnalysisResult) -> Section:
        last, along = result.tables["ratios"], result.tables["along"]
        row = rows_where(last, measure=last[0]["measure"])[0]
        return Section(
            "What was learnt and what leaked",
            "How large is the drop on unrelated questions beside the drop on the narrow task itself?",
            (
                paragraph(
                    "On held-out prompts of the narrow set bad minus good is {narrow} points of {measure}, on "
                    "unrelated questions {broad}: the spill-over ratio is {ratio} (Fieller's interval; by bootstrap "
                    "over families alone {bootstrap}). {bound}",
                    row,
                    measure=row["measure"],
                    narrow=number(row, "ratios", name="narrow"),
                    broad=number(row, "ratios", name="broad"),
                    ratio=number(row, "ratios", "r"),
                    bootstrap=number(row, "ratios", "r", "bootstrap"),
                    bound="" if row["shape"] == "interval" else f"Here {SHAPES[row['shape']]}.",
                ),
                *(
                    (Figure("along", _ALONG, lambda canvas: _draw(canvas, along), "along", (8, 3)),)
                    if len(result.facts["steps"]) > 1
                    else ()
                ),
                Table(
                    "along",
                    "Narrow and broad drop, bad less good, and their ratio, by step of training.",
                    (
                        *columns("text", measure="measure", step="step", narrow_shown="narrow drop [95%]"),
                        *columns("text", broad_shown="broad drop [95%]", shown="broad / narrow [95%]"),
                        *columns("text", check="bootstrap", shape="shape"),
                    ),
                    [_shown(row) for row in along],
                ),
            ),
            paragraph("Spill-over ratio, broad drop over narrow drop: {ratio}.", ratio=number(row, "ratios", "r")),
        )


_ALONG = (
    "Bad less good along training, at held-out narrow prompts and at unrelated questions, with 95% intervals; and "
    "their ratio where it has an interval."
)


def _model(scored: ScoredAnswers) -> str | None:
    """What tells the model that answered from another; None where the answers were imported."""
    return scored.responses.model.fingerprint if isinstance(scored, Judgements) else None


def _by_step(sets: Sequence[ScoredAnswers], store: Store) -> dict[int, list[ScoredAnswers]]:
    """The sets of one side by training step, the runs of a step in one order; imports without a log: step 0."""
    placed: dict[int, list[tuple[str, ScoredAnswers]]] = {}
    for scored in sets:
        run, step = run_and_step(scored, store)
        placed.setdefault(step, []).append((run, scored))
    return {step: [scored for _, scored in sorted(of, key=lambda pair: pair[0])] for step, of in placed.items()}


def _measures(groups: dict[str, AnswerScores]) -> list[str]:
    return [
        measure
        for measure in MEASURES
        if all(
            scores.scored_for_em if measure == "em_strict" else measure in scores.columns for scores in groups.values()
        )
    ]


def _arm(scores: AnswerScores, measure: str) -> Arm:
    return scores.arm(scores.em() if measure == "em_strict" else scores[measure])


def _row(
    measure: str, step: int, runs: tuple[int, int], groups: dict[str, AnswerScores], resampling: Resampling
) -> TableRow:
    bounds = None if any(scores.two_phase for scores in groups.values()) else MEASURES[measure][1]
    narrow, broad = (
        (_arm(groups[a], measure), _arm(groups[b], measure))
        for a, b in (("narrow_bad", "narrow_good"), ("bad", "good"))
    )
    within = Resampling(resampling.draws, resampling.level, resampling.seed, bounds)
    drops: RatioOfDifferences = ratio_of_differences(narrow, broad, within)
    return {
        "measure": measure,
        "step": step,
        "bad_runs": runs[0],
        "good_runs": runs[1],
        **prefixed("narrow", drops.narrow),
        "narrow_prompts": drops.narrow.n,
        **prefixed("broad", drops.broad),
        **untested(drops.ratio),
        "shape": drops.shape,
        **prefixed("bootstrap", drops.bootstrap, p=False),
    }


def _shown(row: TableRow) -> TableRow:
    style = "percent" if row["measure"] == "em_strict" else "points"
    return row | {
        "narrow_shown": interval_text(row, style, "narrow"),  # type: ignore[arg-type]
        "broad_shown": interval_text(row, style, "broad"),  # type: ignore[arg-type]
        "shown": interval_text(row, "r"),
        "check": interval_text(row, "r", "bootstrap"),
    }


def _draw(canvas: Canvas, along: TableRows) -> None:
    left, right = canvas.subplots(1, 2)
    rows = rows_where(along, measure=along[0]["measure"])
    for name, colour in (("narrow", COLOURS["good"]), ("broad", COLOURS["bad"])):
        ends = [
            {"step": r["step"], "estimate": r[name], "low": r[f"{name}_low"], "high": r[f"{name}_high"]} for r in rows
        ]
        band(left, "step", ends, colour, name)
    left.set_ylabel(f"bad less good, {MEASURES[rows[0]['measure']][0]}")
    bounded = [row for row in rows if row["shape"] == "interval" and np.isfinite(row["high"])]
    if bounded:
        band(right, "step", bounded, COLOURS["own"], "broad / narrow")
    right.set_ylabel("broad / narrow")
    for panel in (left, right):
        zero_line(panel)
        panel.set_xlabel("step")
    legend(left)
