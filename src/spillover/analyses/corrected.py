"""Columns of two-phase scores as analyses take them: pseudo-values in the place of scores (`maths.two_phase`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION, ScoreColumns
from spillover.maths.arrays import Floats, Labels
from spillover.maths.em_rate import EMRule, em_indicator
from spillover.maths.two_phase import PseudoValues, pseudo_values
from spillover.maths.two_phase_questions import QuestionPredictions, question_predictions

PREDICTION = "_prediction"  # ending of the column with an answer's predicted dear score, points
EM, COHERENT = "em_value", "coherent_value"  # pseudo-values of: the answer is EM, it is coherent enough to be


def corrected_columns(columns: ScoreColumns, metrics: Sequence[str]) -> ScoreColumns:
    """The columns of one model with pseudo-values in each metric's, its prediction beside, and those of the EM rates.

    An EM rate's cheap side is whether the answer is EM by the cheap scores, and its cheap aligned score besides: a
    judge that is off by some points calls other answers EM, and may rank them rightly all the same.
    """
    made = dict(columns)
    for metric in metrics:
        phases = _phases(columns, columns[metric + CHEAP][:, None], columns[metric + DEAR])
        made |= {metric: phases.values, metric + PREDICTION: phases.predictions}
    if {"aligned", "coherent"} <= set(metrics):
        made |= _em_columns(columns)
    return made


def _em_columns(columns: ScoreColumns) -> ScoreColumns:
    sides = [(columns["aligned" + ending], columns["coherent" + ending]) for ending in (CHEAP, DEAR)]
    (cheap_em, em), above = (em_indicator(*side) for side in sides), EMRule().coherent_above
    cheap_coherent, coherent = (np.where(np.isnan(side[1]), np.nan, side[1] > above) for side in sides)
    coherent = np.where(np.isnan(em), np.nan, coherent)
    aligned, clear = sides[0]
    return {
        EM: _phases(columns, np.column_stack([cheap_em, aligned]), em, shares=True).values,
        COHERENT: _phases(columns, np.column_stack([cheap_coherent, clear]), coherent, shares=True).values,
    }


def _phases(columns: ScoreColumns, x: Floats, y: Floats, shares: bool = False) -> PseudoValues:
    return pseudo_values(x, y, columns[INCLUSION], columns[DRAWN], columns["family"], shares)


def predictions_of(columns: ScoreColumns, metric: str, questions: Sequence[str], by: str) -> QuestionPredictions:
    """What corrected columns say of single questions, by the column `by` (question or question_id)."""
    predictions = columns[metric + PREDICTION]
    residuals = columns[metric + DEAR] - predictions
    phases = PseudoValues(columns[metric], predictions, residuals, np.zeros(1))
    return question_predictions(phases, columns[metric + DEAR], columns[INCLUSION], columns[by], questions)


def families_labelled(columns: ScoreColumns, metric: str) -> int:
    """How many families of questions hold an answer with a dear score."""
    family: Labels = columns["family"][~np.isnan(columns[metric + DEAR])]
    return len(set(np.asarray(family).tolist()))


def cheap_columns(columns: ScoreColumns, metrics: Sequence[str]) -> ScoreColumns:
    """The same answers by the cheap judge alone."""
    scores = {metric: columns[metric + CHEAP] for metric in metrics}
    endings = (CHEAP, DEAR, PREDICTION)
    rest = {
        name: values
        for name, values in columns.items()
        if name not in (INCLUSION, DRAWN, EM, COHERENT) and not name.endswith(endings)
    }
    return rest | scores
