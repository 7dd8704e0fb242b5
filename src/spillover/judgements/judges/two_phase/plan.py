"""What a two-phase judging takes, how sure it makes a mean, and which share of dear scores buys most."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from spillover.judgements.judge import Answer, Batch, Judge, PhasedScore
from spillover.maths.arrays import Bools, Floats
from spillover.maths.probability_sample import best_share, sampling_variance
from spillover.maths.two_phase import pseudo_values
from spillover.maths.two_phase_questions import question_predictions
from spillover.spec import encode
from spillover.store import Store

SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
FEW = 20  # dear scores of a model below which its intervals can be too short
REACH = 1.96  # standard errors to either side of a 95% interval


def what_was_seen(
    columns: Sequence[Sequence[PhasedScore]], question: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """What the scores of a model's answers say of the two judges, by metric: a pilot for those to come."""
    seen: dict[str, dict[str, float | None]] = {}
    for scores in columns:
        x, y, inclusion = (
            np.array([np.nan if (value := getattr(score, name)) is None else value for score in scores], dtype=float)
            for name in ("cheap", "dear", "inclusion")
        )
        drawn = np.array([bool(score.drawn) for score in scores])
        if scores and drawn.any() and not np.isnan(y).all():
            seen[scores[0].metric] = _pilot(x, y, inclusion, drawn, question)
    return seen


def _pilot(x: Floats, y: Floats, inclusion: Floats, drawn: Bools, question: Sequence[str]) -> dict[str, float | None]:
    phases = pseudo_values(x[:, None], y, inclusion, drawn, question)
    labels = y[~np.isnan(y)]
    names = sorted(set(question))
    single = question_predictions(phases, y, inclusion, question, names)
    between = float(np.nanvar(single.means) + np.nanmean(single.errors**2)) if phases.labelled > 1 else None
    both = ~np.isnan(x) & ~np.isnan(y)
    varies = both.sum() > 2 and x[both].std() > 0 and y[both].std() > 0
    return {
        "answers": int((~np.isnan(inclusion)).sum()),
        "drawn": int(drawn.sum()),
        "labelled": phases.labelled,
        "questions": len(names),
        "weight": float(phases.weights[0]),
        "r": float(np.corrcoef(x[both], y[both])[0, 1]) if varies else None,
        "off": float((x[both] - y[both]).mean()) if both.any() else None,
        "variance": float(labels.var(ddof=1)) if len(labels) > 1 else None,
        "residual": float(np.nanmean(phases.residuals**2)),
        "between_questions": between,
    }


def planned_work(
    cheap: Judge,
    dear: Judge,
    share_of: Callable[[Sequence[Answer]], float],
    batches: Sequence[Batch],
    store: Store | None,
) -> str:
    """For people: how many answers the dear judge reads, what that takes, what other shares would bring."""
    shares = [share_of(batch.answers) for batch in batches]
    answers = sum(len(batch.answers) * batch.times for batch in batches)
    drawn = sum(share * len(batch.answers) * batch.times for share, batch in zip(shares, batches, strict=True))
    parts = [_part(batch, share) for batch, share in zip(batches, shares, strict=True)]
    seconds = drawn * dear.seconds_per_answer()
    takes = dear.estimate(parts, store) or f"about {max(seconds / 60, 0.1):,.1f} min"
    text = f"about {drawn:,.0f} of {answers:,} answers go to {dear.name} ({takes})"
    if fewest := min((share * len(batch.answers) for share, batch in zip(shares, batches, strict=True)), default=0):
        text += f"; {fewest:.0f} a model, too few for intervals to be trusted (from {FEW} on)" if fewest < FEW else ""
    pilot = pilot_of(cheap, dear, store)
    if pilot is None:
        return (
            text
            + "; how sure that makes a mean is said once some answers were judged by both (begin with a small study)"
        )
    return f"{text}; {_shares(pilot, batches, cheap, dear)}"


def _part(batch: Batch, share: float) -> Batch:
    """As many of the answers as are drawn, spread over all."""
    count = round(share * len(batch.answers))
    places = sorted({round(place) for place in np.linspace(0, len(batch.answers) - 1, count).tolist()}) if count else []
    return Batch([batch.answers[place] for place in places], batch.times, batch.seconds)


def pilot_of(cheap: Judge, dear: Judge, store: Store | None) -> dict[str, float] | None:
    """What both judges together gave so far in this store, whatever the share; None where there is nothing.

    labelled answers, r of the two judges, variance of the dear scores over answers, what the cheap ones leave of it,
    and variance between questions: of aligned, or of the first metric.
    """
    pilots = []
    for _, manifest in store.manifests("Judgements") if store else ():
        judge = manifest["spec"]["judge"]
        if judge["kind"] == "TwoPhase" and (judge["cheap"], judge["dear"]) == (encode(cheap), encode(dear)):
            seen = manifest["facts"].get("two_phase", {})
            if pilot := seen.get("aligned") or next(iter(seen.values()), None):
                pilots.append(pilot)
    whole = [pilot for pilot in pilots if pilot["variance"] is not None and pilot["between_questions"] is not None]
    if not whole:
        return None
    weights = [pilot["labelled"] for pilot in whole]
    names = ("variance", "residual", "between_questions", "r")
    means = {name: float(np.average([pilot[name] or 0.0 for pilot in whole], weights=weights)) for name in names}
    return means | {"labelled": float(sum(weights))}


def _shares(pilot: dict[str, float], batches: Sequence[Batch], cheap: Judge, dear: Judge) -> str:
    """Price and half width of a model's mean for some shares, and the share with most precision for its time."""
    largest = max(batches, key=lambda batch: len(batch.answers), default=Batch([]))
    answers, questions = len(largest.answers), len({answer.question for answer in largest.answers})
    if not answers:
        return "nothing to judge"
    price = dear.price(largest.answers)
    cells = []
    for share in SHARES:
        added = sampling_variance(pilot["residual"], share, answers)
        judging, whole = np.sqrt(added), np.sqrt(added + pilot["between_questions"] / questions)
        paid = f" at {price * share:.3g}" if price else f" in {_time(share * answers * dear.seconds_per_answer())}"
        cells.append(f"{share:.0%}{paid} ±{REACH * whole:.1f} (±{REACH * judging:.1f} of it from the sample)")
    first = largest.seconds + cheap.seconds_per_answer()
    best = best_share(pilot["variance"], pilot["residual"], first, dear.seconds_per_answer())
    return (
        f"by {pilot['labelled']:,.0f} answers judged by both (r {pilot['r']:.2f}), a model's mean in points, over "
        f"{answers:,} answers to {questions:,} questions: {', '.join(cells)}; most precision for the time, were "
        f"answers made to measure, at {best:.0%}"
    )


def _time(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds > 90 else f"{seconds:.0f} s"
