"""A judge's scores set right by people's labels of a sample: two phases, the dear judge a person.

`spillover audit` draws the sample with known probabilities; `HumanLabels` reads what people wrote. What analyses make
of both is what they make of any two-phase judge's scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import model_validator

from spillover.judgements.audit_sheet import LABELS, strata
from spillover.judgements.human_labels import NOT_LABELLED, HumanLabels
from spillover.judgements.scored_answers import (
    CHEAP,
    DEAR,
    DRAWN,
    INCLUSION,
    Condition,
    ScoreColumns,
    ScoredAnswers,
    Training,
)
from spillover.maths.two_phase import pseudo_values
from spillover.records import write_json
from spillover.store import BuildContext, Store


class AuditedScores(ScoredAnswers):
    """A judge's scores of one model's answers, corrected by labels that people gave to an audit's sample."""

    scored: ScoredAnswers  # one of the sets that the audit's sheet was drawn from
    people: HumanLabels

    @model_validator(mode="after")
    def _was_audited(self) -> Self:
        if self.scored not in self.people.sets:
            names = ", ".join(audited.subject for audited in self.people.sets)
            raise ValueError(
                f"{self.scored.subject} is not among the sets that the labelled sample was drawn from: {names}"
            )
        return self

    @property
    def subject(self) -> str:
        return self.scored.subject

    @property
    def judge_name(self) -> str:
        return f"{self.scored.judge_name} + {self.people.judge_name}"

    @property
    def rubric_name(self) -> str:
        return self.people.rubric_name

    @property
    def metrics(self) -> tuple[str, ...]:
        return LABELS

    def judge_card(self) -> str:
        return (
            f"{self.scored.judge_name} scored every answer; {self.people.who} labelled a sample drawn by chance. "
            f"Means, differences and rates are estimates of what {self.people.who} would say of all answers. "
            f"{self.people.judge_card()}"
        )

    def conditions(self) -> Mapping[str, Condition]:
        judge = f"{self.scored.conditions()['judge'].key} {self.people.fingerprint}"
        return {**self.scored.conditions(), "judge": Condition(judge, lambda: self.judge_name)}

    def summary(self) -> str:
        return f"Scores of {self.subject} by {self.scored.judge_name}, corrected by labels of {self.people.who}"

    @property
    def trained(self) -> bool:
        return self.scored.trained

    def training(self, store: Store) -> Training:
        return self.scored.training(store)

    def columns(self, store: Store) -> ScoreColumns:
        """The answers with both phases; an answer's own score is its label, or what is predicted of it."""
        columns = dict(self.scored.columns(store))
        key, labelled = self.people.key(store), self.people.columns(store)
        number = self.people.sets.index(self.scored)
        stratum = strata(columns, key["margin"])
        chance = {name: key["sampled"][name] / size for name, size in key["population"].items() if size}
        # an empty stratum's name can stand on no answer; a stratum of which none was drawn is in no frame
        inclusion = np.array([chance.get(name) or np.nan for name in stratum.tolist()], dtype=np.float64)
        rows = [row["row"] for row in key["rows"] if row["set"] == number]
        places = [place for place, row in enumerate(key["rows"]) if row["set"] == number]
        drawn = np.zeros(len(stratum), dtype=bool)
        drawn[rows] = True
        columns |= {INCLUSION: inclusion, DRAWN: drawn}
        for metric in LABELS:
            cheap, dear = columns[metric], np.full(len(stratum), np.nan)
            dear[rows] = labelled[metric][places]
            predicted = pseudo_values(cheap[:, None], dear, inclusion, drawn, columns["question"]).predictions
            columns |= {metric + CHEAP: cheap, metric + DEAR: dear}
            columns[metric] = np.where(np.isnan(dear), np.clip(predicted, 0, 100), dear)
        lacking = np.isnan(columns["aligned"]) & np.array([reason is None for reason in columns["missing"]], dtype=bool)
        columns["missing"] = np.where(lacking, NOT_LABELLED, columns["missing"])
        return columns

    def make(self, context: BuildContext) -> dict[str, object]:
        columns = self.columns(context.store)
        facts: dict[str, object] = {"answers": len(columns[DRAWN]), "drawn": int(columns[DRAWN].sum())}
        facts |= {f"labelled_{metric}": int((~np.isnan(columns[metric + DEAR])).sum()) for metric in LABELS}
        write_json(facts, context.folder / "audited.json")
        return facts
