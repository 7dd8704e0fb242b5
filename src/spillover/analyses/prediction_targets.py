"""What is predicted, question by question, and what every feature set shares. Knows scores, no activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spillover.analyses.scores import Scores
from spillover.maths.arrays import Floats, Ints

SPREAD = " sd"  # "aligned sd" is the standard deviation of a question's aligned scores


@dataclass(frozen=True, eq=False)
class Targets:
    """Questions with their targets (n, T), and what all features share: groups, folds (R, n), orders (draws + 1, n)."""

    names: list[str]
    about: Any
    targets: tuple[str, ...]
    y: Floats
    families: Any
    formats: Any
    groups: Any
    folds: Ints
    orders: Ints


def within(values: Any, formats: Any) -> Floats:
    """Values less the mean of their answer format."""
    found = np.array(values, dtype=np.float64)
    for format in np.unique(formats):
        inside = formats == format
        if np.isfinite(found[inside]).any():
            found[inside] -= np.nanmean(found[inside])
    return found


def level(scores: Scores, target: str, names: list[str]) -> Floats:
    """Mean, or standard deviation (ddof 1), of each question's scores; NaN where there are too few."""
    metric = target.removesuffix(SPREAD)
    if metric not in scores.columns:
        raise ValueError(f"no scores of {metric!r} in {scores.label}; targets are metrics, or 'METRIC{SPREAD}'")
    if metric == target:
        return np.asarray(scores.means(metric, names, by="question_id"))
    owned = [scores[metric][scores["question_id"] == name].astype(float) for name in names]
    kept = [values[~np.isnan(values)] for values in owned]
    return np.array([values.std(ddof=1) if len(values) > 1 else np.nan for values in kept])


def centred_answers(scores: Scores, names: list[str], metric: str) -> Floats:
    """(question ids, answers), each answer less its format's mean; NaN where there are fewer answers."""
    values = within(scores[metric], scores["format"])
    owned = [values[scores["question_id"] == name] for name in names]
    width = max(map(len, owned))
    return np.array([np.pad(one, (0, width - len(one)), constant_values=np.nan) for one in owned])
