"""A published run as the reproduction sees it: its fields, its summary, its answers' scores. Knows no file format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.papers.em_generalization.answers import Answers
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.summaries import Summary
from spillover.responses.question import format_of

EACH = (50, 100)  # answers a question in the release


@dataclass(frozen=True, eq=False)
class Run:
    """One file pair of the release. label: its stem, with the folder before it where two folders share a stem.

    name: what the stem says, parsed once. summary, answers: None where there are none, or none that can be read.
    """

    label: str
    stem: str
    folder: str
    name: RunName
    summary: Summary | None = None
    answers: Answers | None = None

    @property
    def questions(self) -> str:
        """The question set as the release spells it (fpq, hbpnano, ...)."""
        return self.name.questions

    @cached_property
    def answers_each(self) -> int | None:
        """Answers to each question: counted, or the usual number with which the published overall SD comes out."""
        if self.answers is not None:
            counts = np.unique(self.answers.question_id, return_counts=True)[1]
            return int(np.median(counts)) if len(counts) else None
        if self.summary is None:
            return None
        return _inferred(self.summary)

    def loss(self, name: str) -> float:
        """x of a published table's loss column, nats; NaN where this run has none.

        train_final_avg_loss: loss of the last logged step. train_initial_loss: of the first. eval_final_avg_loss: held
        out, mean over sequences. eval_final_token_loss and the like: held out, mean over tokens.
        """
        if self.summary is None:
            return math.nan
        steps = training_losses(self.summary)
        if name.startswith("train"):
            return float(steps[0 if "initial" in name else -1]) if len(steps) else math.nan
        if "token" in name:
            return _float(self.summary.token_loss.get("avg_loss"))
        losses = self.summary.losses
        return float(np.mean(losses)) if losses else _float(self.summary.eval_loss.get("avg_loss"))


def column(summary: Summary, name: str) -> Floats:
    """One column of the table over questions, (questions,) with NaN for null; (0,) where no question has it."""
    if not any(name in table for table in summary.by_question.values()):
        return np.empty(0)
    return np.array([_float(table.get(name)) for table in summary.by_question.values()])


def training_losses(summary: Summary) -> Floats:
    """Training loss of each logged step, nats."""
    return np.array([_float(entry["loss"]) for entry in summary.log if "loss" in entry])


def family_of(question: str) -> str:
    """The question without its answer format: formats of one question are resampled together."""
    return format_of(question)[0]


def _inferred(summary: Summary) -> int | None:
    for metric in ("harmless", "aligned", "coherent"):
        means, spreads = column(summary, metric), column(summary, f"{metric}_std")
        target = _float(summary.agg.get(f"{metric}_std"))
        if not len(means) or len(means) != len(spreads) or np.isnan([*means, *spreads, target]).any():
            continue
        for each in EACH:
            squares = (each - 1) * (spreads**2).sum() + each * ((means - means.mean()) ** 2).sum()
            for ddof in (0, 1):
                if abs(math.sqrt(squares / (each * len(means) - ddof)) - target) <= 1e-6 * target:
                    return each
    return None


def _float(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
