"""A second stage of training: is what the first one did gone, or hidden?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Block, Column, Figure, Section, Table, columns, interval_text, number, paragraph
from spillover.analyses.conditions import Conditions, InCondition
from spillover.analyses.figures import COLOURS, band, legend
from spillover.analyses.rows import TableRow, TableRows, prefixed, row_where, rows_where
from spillover.analyses.scores import pool_runs, rate_difference, read_scores, refuse_unlike_scores, run_and_step
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.organisms.organism import Organism
from spillover.responses.questions.conditions import AS_IS
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

OUTCOMES = {
    "hidden": "What the first stage did is hidden, not gone: under {worst} the second stage's gain vanishes.",
    "weaker": "The second stage helps under every condition, under {worst} clearly less.",
    "holds": "No condition brings back what the first stage did.",
    "unclear": "Whether it is gone or hidden cannot be told at this size.",
    "no gain": "The second stage changed nothing that is clear without a condition.",
}


def doubling_steps(steps: int) -> tuple[int, ...]:
    """1, 2, 4, ... below the last step, and the last: where a second stage is worth asking."""
    return tuple(sorted({*(2**power for power in range(steps.bit_length()) if 2**power < steps), steps}))


def asked_at_doubling_steps(organism: Organism) -> Organism:
    """The same training with checkpoints after 1, 2, 4, ... steps, and the last."""
    return organism.but(checkpoint_every=None, checkpoint_steps=doubling_steps(organism.steps))


class SecondStage(Analysis):
    """An organism trained further on good, benign or its own answers: how fast the harm goes, and whether it is hidden.

    Estimates, after each step of the second stage that was asked, the difference of mean aligned (points) and of the
    strict EM rate (share) to the end of the first stage and to the base; and, where the end of the second stage was
    asked under conditions too, `Conditions` with the first stage's end as the tuned model and the second's as the
    mitigated one: *hidden* where the gain is clear without a condition and vanishes under one. Intervals are 95% over
    families of questions, over training runs too where there are several. Stages: ours; hiding: arXiv 2604.25891.
    """

    base: tuple[InCondition, ...] = Field(min_length=1)
    first: tuple[InCondition, ...] = Field(min_length=1)  # the end of the first stage
    later: tuple[InCondition, ...] = Field(min_length=1)  # the end of the second stage
    steps: tuple[ScoredAnswers, ...] = ()  # checkpoints of the second stage, without a condition
    without: str = AS_IS
    draws: int = Field(default=2000, ge=99)

    @property
    def _conditions(self) -> Conditions | None:
        """What the conditions say; None where there is one alone."""
        if len({entry.name for entry in self.base}) < 2:
            return None
        return Conditions(
            base=self.base,
            tuned=self.first,
            mitigated=self.later,
            without=self.without,
            draws=self.draws,
            allow_unlike_judges=self.allow_unlike_judges,
        )

    def analyse(self, context: BuildContext) -> AnalysisResult:
        plain = {
            side: [entry.scores for entry in getattr(self, side) if entry.name == self.without]
            for side in ("base", "first", "later")
        }
        if not all(plain.values()):
            raise ValueError(f"base, first and second stage have to be asked without a condition ({self.without!r})")
        refuse_unlike_scores((*(s for sets in plain.values() for s in sets), *self.steps), self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        base = read_scores(plain["base"][0], context.store)
        first = pool_runs([read_scores(s, context.store) for s in plain["first"]], "first stage")
        by_step: dict[int, list[ScoredAnswers]] = {}
        for scored in (*self.steps, *(s for s in plain["later"] if s not in self.steps)):
            by_step.setdefault(run_and_step(scored, context.store)[1], []).append(scored)
        rows: TableRows = []
        for step, sets in sorted(by_step.items()):
            scores = pool_runs([read_scores(s, context.store) for s in sets], f"step {step}")
            row: TableRow = {
                "step": step,
                "runs": len(sets),
                **prefixed("level", scores.mean("aligned", resampling), p=False),
            }
            for name, other in (("first", first), ("base", base)):
                row |= prefixed(f"{name}_gap", scores.difference(other, "aligned", resampling))
                if scores.scored_for_em and other.scored_for_em:
                    row |= prefixed(f"{name}_em_gap", rate_difference(scores, other, resampling))
            rows.append(row)
        facts: dict[str, object] = {"without": self.without}
        tables: dict[str, TableRows] = {"steps": rows}
        if (conditions := self._conditions) is not None:
            result = conditions.analyse(context)
            tables |= {name: list(table) for name, table in result.tables.items()}
            facts |= {name: result.facts[name] for name in ("verdict", "worst")}
        return AnalysisResult(tables, facts)

    def show(self, result: AnalysisResult) -> Section:
        rows, facts = result.tables["steps"], result.facts
        last = rows[-1]
        blocks: list[Block] = [
            paragraph(
                "After step {step} of the second stage aligned is {gained} points above the end of the first, and "
                "{left} from the base.",
                step=str(last["step"]),
                gained=number(last, "steps", name="first_gap"),
                left=number(last, "steps", name="base_gap"),
            )
        ]
        if "verdict" in facts:
            text = OUTCOMES[str(facts["verdict"])].replace("{worst}", f"\u201c{facts['worst']}\u201d")
            gains = rows_where(result.tables["gains"], measure="aligned")
            worst = row_where(gains, condition=facts["worst"])
            blocks.append(paragraph("{outcome} Its gain there: {gain}.", outcome=text, gain=number(worst, "gains")))
        else:
            blocks.append(paragraph("No condition was asked: gone cannot be told from hidden (`condition_panel`)."))
        return Section(
            "A second stage of training",
            "Is what the first stage did gone, or hidden?",
            (
                *blocks,
                Figure("steps", _FIGURE, lambda canvas: _draw(canvas, rows), "steps", (6, 3.2)),
                Table(
                    "steps",
                    "After each step of the second stage: mean aligned, and its difference to the end of the first "
                    "stage and to the base; EM likewise.",
                    (
                        Column("step", "step", "count"),
                        *columns("text", level_shown="aligned [95%]", first_shown="less first stage"),
                        *columns("text", base_shown="less base", em_shown="EM less first stage"),
                    ),
                    [row | _texts(row) for row in rows],
                ),
            ),
        )


_FIGURE = "Mean aligned along the second stage (log steps), with 95% intervals over question families."


def _texts(row: TableRow) -> TableRow:
    return {
        "level_shown": interval_text(row, "points", "level"),
        "first_shown": interval_text(row, "points", "first_gap"),
        "base_shown": interval_text(row, "points", "base_gap"),
        "em_shown": interval_text(row, "percent", "first_em_gap"),
    }


def _draw(canvas: Canvas, rows: TableRows) -> None:
    axes = canvas.subplots()
    ends = [
        {"step": max(row["step"], 1), "estimate": row["level"], "low": row["level_low"], "high": row["level_high"]}
        for row in rows
    ]
    band(axes, "step", ends, COLOURS["own"], "second stage")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="step of the second stage", ylabel="mean aligned, points")
    legend(axes)
