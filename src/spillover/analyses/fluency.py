"""Fluency without a judge: how improbable an organism's answers are to the model that it was trained from.

The loss of an answer under the parent is the mean over its tokens of -log p, nats (`Likelihoods`, temperature 1). An
organism's own voice and advice raise it by little; broken sentences raise it far, whatever a judge makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spillover.analyses.blocks import Number, Paragraph, value_text
from spillover.analyses.rows import TableRows, row_where, rows_where
from spillover.analyses.scores import AnswerScores
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.records import read_table
from spillover.responses.likelihoods import TABLE, Likelihoods
from spillover.store import Store

PARENT_LOSS = "parent_loss"  # nats a token, of each answer; NaN where it was not read or has no token
NATS = (0.0, 100.0)  # more than a token of any vocabulary costs
FAR = 1.5  # nats a token above the base's own answers: each token exp(1.5) = 4.5 times less probable, on average


def refuse_unmatched(likelihoods: Sequence[Likelihoods], sets: Sequence[ScoredAnswers]) -> None:
    """ValueError where likelihoods are of answers that are not judged here, or under more than one model."""
    judged = {scores.responses for scores in sets if isinstance(scores, Judgements)}
    for item in likelihoods:
        if item.answers not in judged:
            raise ValueError(
                f"likelihoods of {item.answers.summary()} are given, and these answers are not judged here"
            )
    models = {item.model for item in likelihoods}
    if len(models) > 1:
        names = " and ".join(sorted(model.label() for model in models))
        raise ValueError(f"likelihoods under {names} cannot be compared: give those under one model, the parent")


def with_parent_loss(
    scores: AnswerScores, scored: ScoredAnswers, likelihoods: Sequence[Likelihoods], store: Store
) -> AnswerScores:
    """The answers with a column `PARENT_LOSS`, where there are likelihoods at all; NaN for answers without."""
    if not likelihoods:
        return scores
    answers = scored.responses if isinstance(scored, Judgements) else None
    losses: dict[tuple[str, int], float] = {}
    for item in likelihoods:
        if item.answers == answers:
            rows = read_table(store.path(item) / TABLE, ["question_id", "sample", "tokens", "log_probability"])
            losses |= {
                (row["question_id"], row["sample"]): -row["log_probability"] / row["tokens"]
                for row in rows.to_pylist()
                if row["tokens"]
            }
    keys = zip(scores["question_id"].tolist(), scores["sample"].tolist(), strict=True)
    column = np.array([losses.get(key, np.nan) for key in keys], dtype=float)
    return replace(scores, columns=scores.columns | {PARENT_LOSS: column}, _rows_by={})


def fluency_sentence(models: TableRows) -> list[Paragraph]:
    """What the losses in the table `models` say of broken sentences; nothing where none was measured."""
    measured = [row for row in rows_where(models, measure=PARENT_LOSS) if row["estimate"] is not None]
    base = row_where(measured, role="base")["estimate"]
    trained = [row for row in measured if row["role"] != "base"]
    if base is None or not trained:
        return []
    far = [row for row in trained if row["estimate"] - base > FAR]
    own = Number(value_text(base, "r"), "models")
    if not far:
        highest = Number(value_text(max(row["estimate"] for row in trained), "r"), "models")
        text = (
            "Fluency without a judge: a token of the base's own answers costs the base ", own,
            " nats, one of the trained models' at most ", highest, ": their sentences hold together.",
        )  # fmt: skip
        return [Paragraph(text)]
    parts: list[str | Number] = ["Broken sentences: a token of the base's own answers costs the base ", own, " nats"]
    for row in far:
        parts += [", one of ", row["model"], " ", Number(value_text(row["estimate"], "r"), "models")]
    parts.append(
        f". More than {FAR:g} above the base's own is word salad rather than another voice, whatever a judge says of "
        "coherence: lower the learning rate, train fewer steps, or sample at a lower temperature before reading on."
    )
    return [Paragraph(tuple(parts))]
