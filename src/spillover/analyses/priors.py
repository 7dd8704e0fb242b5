"""Model priors: each question's scores before narrow training against those after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Figure, Paragraph, Section, Table, columns, paragraph, value_text
from spillover.analyses.figures import dots, grid
from spillover.analyses.phases import phase_blocks, phase_rows, phase_table
from spillover.analyses.rows import TableRow, TableRows, add_q_values, grouped, prefixed, row_where, rows_where
from spillover.analyses.scores import SCALE, AnswerScores, read_scores, refuse_repeated, refuse_unlike_scores
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.maths.estimate import Resampling
from spillover.maths.paired import PriorPost, prior_post
from spillover.maths.reliability import Reliability, noise_ceiling, split_half
from spillover.maths.two_phase_questions import NoisyMeans, without_sampling_noise
from spillover.store import BuildContext

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

P_VALUES = ("wilcoxon_p", "ks_p", "wilcoxon_family_p", "ks_family_p")


_NOTE = (
    "Dots of single questions are predictions. r and slope are those of question means, less the noise that the sample "
    "adds to them; standard deviations of a question's scores are not estimated from a sample."
)


class Priors(Analysis):
    """How each question's score before narrow training goes with its score after, beside what noise allows.

    Estimates, over questions, the difference of the means (after less before, points), Pearson r of after with
    before, with 95% intervals over families of questions, and the r that a perfect relation would show given the noise
    of both sides (split-half reliability, Spearman-Brown); the published signed-rank and Kolmogorov-Smirnov p, and the
    same with whole families changing sides; and all that for the questions' standard deviations. q:
    Benjamini-Hochberg over the whole table (docs/method.md, section 2a). Each row is about one model: it speaks of new
    questions put to that training run, not of another run of the same training.
    """

    before: ScoredAnswers
    after: tuple[ScoredAnswers, ...]
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _distinct_models(self) -> Self:
        refuse_repeated(self.after, "the table")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        refuse_unlike_scores((self.before, *self.after), self.allow_unlike_judges)
        resampling = Resampling(self.draws)
        before = read_scores(self.before, context.store)
        formats = before.formats()
        tests: TableRows = []
        questions: TableRows = []
        models = [before]
        for scored in self.after:
            after = read_scores(scored, context.store)
            models.append(after)
            for metric in self.before.metrics:
                questions += _questions(before, after, metric)
                for scope in ("all", *(formats if len(formats) > 1 else ())):
                    tests += _tests(before, after, metric, scope, resampling)
        for p in P_VALUES:
            add_q_values(tests, p, p.removesuffix("_p") + "_q")
        phases = phase_rows(models, self.before.metrics, resampling)
        tables = {"tests": tests, "questions": questions, **phase_table(phases)}
        return AnalysisResult(tables, {"before": before.label})

    def show(self, result: AnalysisResult) -> Section:
        tests, questions = result.tables["tests"], result.tables["questions"]
        models = list(grouped(tests, "model"))
        return Section(
            "Model priors: each question before and after",
            "Do questions that scored low before narrow training score low after it?",
            (
                *(_sentence(model, tests) for model in models),
                *phase_blocks(result.tables, _NOTE),
                Figure(
                    "before_after",
                    f"Mean aligned of each question before ({result.facts['before']}) and after, one panel a model; "
                    "the grey line is no change. A slope below 1 is expected of noise alone (regression to the mean).",
                    lambda canvas: _draw(canvas, questions, models),
                    "questions",
                    (8, 3.4),
                ),
                Table(
                    "tests",
                    "Means and standard deviations (sd) of the questions' scores, before against after: difference, "
                    "signed-rank and Kolmogorov-Smirnov test against whole families changing sides, with "
                    "Benjamini-Hochberg q over this whole table (the published tests, which take questions for "
                    "independent, stand in the CSV), Pearson r, and the r that a perfect relation would show given "
                    "the noise of both sides (split-half, Spearman-Brown).",
                    (
                        *columns("text", model="after", metric="metric", of="of", scope="answers"),
                        Column("difference", "difference [95%]", "points", interval=True),
                        *columns("p", wilcoxon_family_q="signed-rank q", ks_family_q="KS q"),
                        Column("r", "r [95%]", "r", interval=True),
                        *columns("r", attainable_r="attainable r", slope="slope"),
                        Column("n", "questions", "count"),
                    ),
                    rows_where(tests, scope="all"),
                ),
            ),
        )


def _tests(before: AnswerScores, after: AnswerScores, metric: str, scope: str, resampling: Resampling) -> TableRows:
    """Published statistics for the questions' means and standard deviations over the answers in one format, or all."""
    a, b = (scores if scope == "all" else scores.in_format(scope) for scores in (before, after))
    about = a.questions()
    names, families = list(about), [question["family"] for question in about.values()]
    mean_a, mean_b = (scores.means(metric, names) for scores in (a, b))
    sd_a, sd_b = (scores.deviations(metric, names) for scores in (a, b))
    if a.two_phase and b.two_phase:
        sides = [_two_phase(scores, metric, names) for scores in (a, b)]
        moved = without_sampling_noise(prior_post(mean_a, mean_b, families, resampling), *sides)
        reliable = [side.reliability() for side in sides]
    else:
        moved = prior_post(mean_a, mean_b, families, replace(resampling, bounds=SCALE))
        reliable = [split_half(scores.centred(metric, names)) for scores in (a, b)]
    tests = {"mean": _row(moved, reliable), "sd": _row(prior_post(sd_a, sd_b, families, resampling), None)}
    return [{"model": after.label, "metric": metric, "of": of, "scope": scope, **row} for of, row in tests.items()]


def _two_phase(scores: AnswerScores, metric: str, names: Sequence[str]) -> NoisyMeans:
    predicted = scores.predictions(metric, names)
    return NoisyMeans(scores.means(metric, names), predicted.noise, predicted.scatter)


def _row(tests: PriorPost, reliable: Sequence[Reliability] | None) -> TableRow:
    before, after = (side.value for side in reliable) if reliable else (None, None)
    return {
        "n": tests.n,
        **prefixed("difference", tests.difference, p=False),
        **{p: getattr(tests, p) for p in P_VALUES},
        **prefixed("r", tests.r),
        "slope": tests.slope,
        "r2": tests.r2,
        "reliability_before": before,
        "reliability_after": after,
        "attainable_r": None if before is None or after is None else noise_ceiling(before, after).r,
    }


def _questions(before: AnswerScores, after: AnswerScores, metric: str) -> TableRows:
    about = before.questions()
    means = zip(*(scores.question_levels(metric, list(about)) for scores in (before, after)), strict=True)
    return [
        {
            "model": after.label,
            "metric": metric,
            "question": name,
            "category": about[name]["category"],
            "family": about[name]["family"],
            "before": float(left),
            "after": float(right),
        }
        for name, (left, right) in zip(about, means, strict=True)
    ]


def _sentence(model: str, tests: TableRows) -> Paragraph:
    row = row_where(tests, model=model, metric="aligned", of="mean", scope="all")
    if "r" not in row:
        return paragraph("{model}: the judge does not score aligned.", model=model)
    return paragraph(
        "{model}: r(before, after) over {n:text} questions = {r:r}, where noise allows about {attainable_r:r}; the "
        "mean moved by {difference:points} points (signed-rank q {q}).",
        row,
        "tests",
        q=value_text(row["wilcoxon_family_q"], "p"),
    )


def _draw(canvas: Canvas, rows: TableRows, models: Sequence[str]) -> None:
    panels = canvas.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    categories = grouped(rows, "category")
    for panel, model in zip(panels, models, strict=True):
        dots(
            panel,
            rows_where(rows, model=model, metric="aligned"),
            "before",
            "after",
            "category",
            markersize=4,
            alpha=0.85,
        )
        panel.axline((50, 50), slope=1, color="0.7", linewidth=0.8)
        panel.set_title(model, fontsize=8)
        panel.set_xlabel("before, points")
        panel.set_aspect("equal")
        grid(panel)
    panels[0].set_ylabel("after, points")
    if len(categories) <= 12:
        labels = panels[0].get_legend_handles_labels()
        canvas.legend(*labels, loc="outside right upper", frameon=False, fontsize=6.5)
