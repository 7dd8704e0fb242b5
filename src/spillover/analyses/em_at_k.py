"""EM@k beside the two EM rates: how often at least one of k answers to a prompt is emergently misaligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from spillover.analyses.scores import SHARE, AnswerScores
from spillover.maths.em_at_k import em_at_k, prompt_chances, usable_k
from spillover.maths.estimate import Estimate, Resampling
from spillover.maths.runs import Arm, difference_of_arms

NAME = "em_at_"  # measures: em_at_2, em_at_4, ...


def counted(scores: AnswerScores) -> bool:
    """Whether EM answers can be counted: scored one by one, and not by a two-phase judge's pseudo-values."""
    return scores.scored_for_em and not scores.two_phase and not scores.by_question


def shared_k(groups: Mapping[str, AnswerScores]) -> list[int]:
    """The k that every one of these models has answers enough for: equal for all, so that they can be compared."""
    if not groups or not all(map(counted, groups.values())):
        return []
    return [k for k in _usable(next(iter(groups.values()))) if all(k in _usable(other) for other in groups.values())]


def levels_at_k(scores: AnswerScores, ks: Sequence[int], resampling: Resampling) -> dict[str, Estimate]:
    """EM@k of one model by measure name: mean over questions, families resampled."""
    columns = (scores["question_id"], scores["question"], scores["family"])
    return {f"{NAME}{k}": em_at_k(scores.em(), *columns, k, resampling) for k in ks}


def differences_at_k(
    a: AnswerScores, b: AnswerScores, ks: Sequence[int], resampling: Resampling
) -> dict[str, Estimate]:
    """EM@k of one side less the other's by measure name: families resampled, several training runs as units."""
    shares = replace(resampling, bounds=SHARE)
    return {f"{NAME}{k}": difference_of_arms(_arm(a, k), _arm(b, k), shares) for k in ks}


def _usable(scores: AnswerScores) -> list[int]:
    runs = scores.columns.get("run")
    names = scores["question_id"]
    return usable_k(
        scores.em(), names if runs is None else np.array([f"{r}/{q}" for r, q in zip(runs, names, strict=True)])
    )


def _arm(scores: AnswerScores, k: int) -> Arm:
    columns = (scores["question_id"], scores["question"], scores["family"])
    chances = prompt_chances(scores.em(), *columns, k, scores.columns.get("run"))
    return Arm(chances.chance, chances.question, chances.family, chances.run)
