"""Does adding a direction raise its trait and taking it out lower it, more than random directions do? No judge."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spillover.activations.directions.random_direction import RandomDirection
from spillover.activations.steered import Steered
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.analyses.blocks import Column, Number, Paragraph, Section, Table, columns, value_text
from spillover.analyses.rows import TableRow, TableRows, prefixed, row_where, rows_where
from spillover.maths.bootstrap import mean
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.paired import paired_mean
from spillover.maths.permutation import exceedance
from spillover.models.base import Model
from spillover.records import read_table
from spillover.responses.likelihoods import TABLE, Likelihoods
from spillover.spec import Spec
from spillover.store import BuildContext


class TraitLeaning(Spec):
    """How probable one model finds answers with a trait, and answers with its opposite, to the same bare questions."""

    high: Likelihoods  # of answers given under texts that ask for the trait
    low: Likelihoods  # of answers given under texts that ask for its opposite

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if self.high.model != self.low.model or self.high.precision != self.low.precision:
            raise ValueError("a leaning is of one model in one precision")
        if self.high.questions is None or self.high.questions != self.low.questions:
            raise ValueError("both sides' answers must follow the same questions: give both Likelihoods questions=")
        return self

    @property
    def model(self) -> Model:
        """Whose leaning it is."""
        return self.high.model


class TraitCheck(Analysis):
    """Whether a trait direction does what it is called: added it raises the trait, taken out it lowers it.

    A model's leaning to a trait is, question by question, its mean log-probability a token of stored answers that were
    given under texts for the trait, less that of answers given under texts against it, both after the bare question
    (nats a token; above 0: towards the trait). Estimates the change of the leaning when the direction is added and when
    it is taken out, with 95% percentile-t intervals over questions, and ranks it among the changes that random
    directions of its length make (one-sided p: at least as far in the expected direction). `fluency` is the change of
    the mean log-probability of both sides' answers: a push that breaks the model lowers both.
    """

    trait: str
    plain: TraitLeaning
    added: TraitLeaning  # of plain's model with the direction added
    removed: TraitLeaning | None = None  # of a model with it taken out
    random_added: tuple[TraitLeaning, ...] = ()
    random_removed: tuple[TraitLeaning, ...] = ()
    draws: int = Field(default=2000, ge=99)

    @model_validator(mode="after")
    def _steered_alike(self) -> Self:
        sides = ((self.added, self.random_added), (self.removed, self.random_removed))
        for made, controls in sides:
            for leaning in (*([made] if made else []), *controls):
                model = leaning.model
                if not isinstance(model, Steered) or model.model != self.plain.model:
                    raise ValueError(f"{model.label()} is no steered version of {self.plain.model.label()}")
                if leaning.high.answers != self.plain.high.answers or leaning.low.answers != self.plain.low.answers:
                    raise ValueError(f"{model.label()} was shown other answers than {self.plain.model.label()}")
            for leaning in controls:
                if not isinstance(leaning.model, Steered) or not isinstance(leaning.model.direction, RandomDirection):
                    raise ValueError(f"{leaning.model.label()}: controls are random directions")
        return self

    def analyse(self, context: BuildContext) -> AnalysisResult:
        plain = _by_question(self.plain, context)
        rows: TableRows = [
            {"what": "plain", "model": self.plain.model.label(), **_estimate(plain["leaning"], self.draws).as_row()}
        ]
        parts = [("added", self.added, self.random_added, 1)]
        if self.removed:
            parts.append(("removed", self.removed, self.random_removed, -1))
        for what, leaning, controls, sign in parts:
            rows.append(self._row(what, leaning, controls, sign, plain, context))
        empty = dict.fromkeys(rows[-1])
        return AnalysisResult({"leanings": [empty | row for row in rows]}, {"trait": self.trait})

    def _row(
        self,
        what: str,
        leaning: TraitLeaning,
        controls: tuple[TraitLeaning, ...],
        sign: int,
        plain: dict[str, dict[str, float]],
        context: BuildContext,
    ) -> TableRow:
        values = _by_question(leaning, context)
        questions = sorted(plain["leaning"])
        gaps = {
            name: np.array([values[name][q] - plain[name][q] for q in questions]) for name in ("leaning", "fluency")
        }
        moved = paired_mean(gaps["leaning"], questions, Resampling(self.draws))
        random = [
            float(np.mean([other["leaning"][q] - plain["leaning"][q] for q in questions]))
            for other in (_by_question(control, context) for control in controls)
        ]
        p = exceedance(np.array(sign * moved.estimate), sign * np.array(random), two_sided=False) if random else None
        return {
            "what": what,
            "model": leaning.model.label(),
            **_estimate(values["leaning"], self.draws).as_row(),
            **prefixed("moved", moved),
            "fluency": float(gaps["fluency"].mean()),
            "random_mean": float(np.mean(random)) if random else None,
            "random_least": min(random, default=None),
            "random_most": max(random, default=None),
            "random_draws": len(random),
            "random_p": None if p is None else float(p),
        }

    def show(self, result: AnalysisResult) -> Section:
        rows = result.tables["leanings"]
        return Section(
            f"Is the direction '{self.trait}' what it is called?",
            "Does adding it raise the trait and taking it out lower it, more than random directions of its length do?",
            (
                _sentence(rows, self.trait),
                Table(
                    "leanings",
                    "Leaning: log-probability a token of answers with the trait less that of those with its opposite, "
                    "after the bare questions (nats). Fluency: the change of both together. Random: directions of the "
                    "same length used in the same way; p: by rank among them, one-sided.",
                    (
                        *columns("text", what="direction", model="model"),
                        Column("estimate", "leaning [95%]", "r", interval=True),
                        Column("moved", "moved by [95%]", "r", interval=True),
                        *columns("r", fluency="fluency", random_mean="random, mean"),
                        *columns("r", random_least="least", random_most="most"),
                        *(Column("random_draws", "draws", "count"), Column("random_p", "p", "p")),
                    ),
                    rows,
                ),
            ),
        )


def _by_question(leaning: TraitLeaning, context: BuildContext) -> dict[str, dict[str, float]]:
    """By question: leaning, and the mean of both sides; questions that both sides answered with words."""
    sides = []
    for side in (leaning.high, leaning.low):
        names = ["question_id", "tokens", "log_probability"]
        by_question: dict[str, list[float]] = {}
        for row in read_table(context.path(side) / TABLE, names).to_pylist():
            if row["tokens"]:
                by_question.setdefault(row["question_id"], []).append(row["log_probability"] / row["tokens"])
        sides.append({question: float(np.mean(values)) for question, values in by_question.items()})
    high, low = sides
    both = sorted(set(high) & set(low))
    if not both:
        raise ValueError("no question has answers with words on both sides")
    return {
        "leaning": {question: high[question] - low[question] for question in both},
        "fluency": {question: (high[question] + low[question]) / 2 for question in both},
    }


def _estimate(values: dict[str, float], draws: int) -> Estimate:
    return mean(np.array(list(values.values())), list(values), resampling=Resampling(draws))


def _sentence(rows: TableRows, trait: str) -> Paragraph:
    added = row_where(rows, what="added")
    parts: list[str | Number] = ["Added, the direction moves the leaning to ", trait, " answers by "]
    parts.append(Number(value_text(added["moved"], "r"), "leanings"))
    for row in rows_where(rows, what="removed"):
        parts += [", taken out by ", Number(value_text(row["moved"], "r"), "leanings")]
    if added["random_draws"]:
        parts += [
            " nats a token; random directions of its length by ",
            Number(value_text(added["random_mean"], "r"), "leanings"),
        ]
        parts += [" when added (p = ", Number(value_text(added["random_p"], "p"), "leanings"), ")"]
    parts.append(".")
    return Paragraph(tuple(parts))
