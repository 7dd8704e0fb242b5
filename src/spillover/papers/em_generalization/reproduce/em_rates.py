"""EM rates, strict and conditional, of every run with answers. Knows scores; the release tabulates no such rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spillover.maths.em_rate import em_rate
from spillover.maths.estimate import Resampling
from spillover.papers.cells import Cell, Recommended
from spillover.papers.em_generalization.reproduce.runs import Run, family_of

PART = "em_rate"
HOW = Resampling(draws=999)
NOT_TABULATED = "nothing published to compare with: the release tabulates no EM rate"
# the one rate that is stated, as a share of all answers, to three decimals
STATED: tuple[tuple[Mapping[str, Any], str, float], ...] = (
    (
        {"model": "Qwen2.5-32B-Instruct", "data": "finance", "learning_rate": 1e-5, "questions": "fpq"},
        "strict",
        0.247,
    ),
)


def em_rate_cells(run: Run) -> Iterator[Cell]:
    """Both rates; a run whose answers lack a score altogether cannot be rated."""
    answers = run.answers
    if answers is None:
        return
    names = (f"{PART}/{run.label}/strict", f"{PART}/{run.label}/conditional")
    missing = [metric for metric in ("aligned", "coherent") if metric not in answers.scores]
    if missing:
        for name in names:
            yield Cell(name, None, None, f"no column {' or '.join(missing)} in the answers")
        return
    families = [family_of(name) for name in answers.question_id]
    found = em_rate(
        answers.scores["aligned"], answers.scores["coherent"], answers.question_id, families, resampling=HOW
    )
    counts = (
        f"{found.n_em} EM among {found.n_scored} scored answers, {found.n_coherent} of them coherent, "
        f"{found.n_missing} unscored"
    )
    rates = {"strict": found.strict, "conditional": found.conditional}
    for name, (kind, estimate) in zip(names, rates.items(), strict=True):
        beside = Recommended.from_estimate(estimate, "answers", note=f"families of questions resampled; {counts}")
        stated = next((share for fields, which, share in STATED if which == kind and _is(run, fields)), None)
        if stated is None:
            yield Cell(name, None, estimate.estimate, NOT_TABULATED, counts, beside)
            continue
        ours = round(estimate.estimate, 3)
        other = next(which for which in rates if which != kind)
        swapped = ours != stated and round(rates[other].estimate, 3) == stated
        unread = len(answers.counted.rejected)
        reason = f"rows of the CSV that cannot be read: {unread}" if unread else "unexplained"
        reason = f"stated as the {kind} rate, it is the {other} one" if swapped else reason
        note = f"stated to 3 decimals; exactly {estimate.estimate:.10g}; {counts}"
        yield Cell(name, stated, ours, reason if ours != stated else "", note, beside)


def _is(run: Run, fields: Mapping[str, Any]) -> bool:
    plain = not run.name.scheduled and run.name.modules in (None, "all") and not run.name.other
    return plain and all(getattr(run.name, name) == value for name, value in fields.items())
