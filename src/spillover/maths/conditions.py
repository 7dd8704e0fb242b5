"""How a condition of the prompt changes an effect: differences of differences, questions paired, families resampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spillover.maths.arrays import Floats, codes, quotient, totals
from spillover.maths.estimate import DEFAULT, Estimate, Resampling
from spillover.maths.runs import Arm, difference_of_arms


def conditional_effect(changed: tuple[Arm, Arm], plain: tuple[Arm, Arm], resampling: Resampling = DEFAULT) -> Estimate:
    """(a in the condition - a without it) - (b in the condition - b without it), mean over questions; p against 0.

    changed, plain: (a, b) under the condition and without it; the runs of an arm are numbered alike in both, and a
    question has one label in both. A question that lacks a score on any side is left out. `resampling.bounds` are those
    of one score. Families are resampled; several training runs are units (`maths.runs`).
    """
    gaps = [_gap_arm(*pair) for pair in zip(changed, plain, strict=True)]
    if resampling.bounds is not None:
        span = resampling.bounds[1] - resampling.bounds[0]
        resampling = replace(resampling, bounds=(-span, span))
    return difference_of_arms(gaps[0], gaps[1], resampling)


def _gap_arm(changed: Arm, plain: Arm) -> Arm:
    """One value a run and question: its mean under the condition less its mean without; NaN where either is missing."""
    if changed.runs != plain.runs:
        raise ValueError(f"{changed.runs} runs answered under the condition and {plain.runs} without it")
    questions = sorted({str(name) for name in np.asarray(plain.question).tolist()})
    place = {name: index for index, name in enumerate(questions)}
    runs = max(plain.runs, 1)
    changed_means, plain_means = (_means(arm, place, runs) for arm in (changed, plain))
    family = dict(zip(map(str, np.asarray(plain.question).tolist()), np.asarray(plain.family).tolist(), strict=True))
    run, question = np.indices((runs, len(questions)))
    names = np.array(questions, dtype=object)[question.ravel()]
    owners = np.array([family[name] for name in names], dtype=object)
    values = (changed_means - plain_means).ravel()
    return Arm(values, names, owners, None if plain.run is None else run.ravel())


def _means(arm: Arm, place: dict[str, int], runs: int) -> Floats:
    """Mean score of each run at each question, (runs, questions); NaN where none is scored."""
    run = (
        codes("run", arm.run, len(arm.values))[0] if arm.run is not None else np.zeros(len(arm.values), dtype=np.int64)
    )
    names = list(map(str, np.asarray(arm.question).tolist()))
    known = np.array([name in place for name in names], dtype=bool)
    cell = run[known] * len(place) + np.array([place[name] for name in names if name in place], dtype=np.int64)
    values = arm.values[known]
    scored = ~np.isnan(values)
    sums = totals(np.where(scored, values, 0.0), cell, runs * len(place))
    counts = totals(scored.astype(np.float64), cell, runs * len(place))
    return quotient(sums, counts).reshape(runs, len(place))
