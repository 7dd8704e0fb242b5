"""What a report says of two-phase scores: what the cheap judge alone would have said, how far off, and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from spillover.analyses.blocks import Block, Column, Table, columns, number, paragraph
from spillover.analyses.corrected import PREDICTION
from spillover.analyses.rows import TableRow, TableRows, prefixed, row_where, rows_where
from spillover.analyses.scores import SCALE, AnswerScores
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.maths.estimate import Estimate, Resampling

FEW = 20  # dear scores below which an interval can be too short
WIDEST = SCALE[1] - SCALE[0]
PREDICTED = (
    "{questions} nothing is tested: a question has few answers that the dear judge scored, or none, and its values are "
    "predictions from the cheap judge's scores, drawn to the dear ones as far as these go. Their intervals hold the "
    "truth in 95% of questions, not of each; the table says how many dear scores stand behind each."
)


def phase_rows(models: Iterable[AnswerScores], metrics: Sequence[str], resampling: Resampling) -> TableRows:
    """For each two-phase set and metric: the corrected mean, the cheap judge's, and how they were got; else no rows."""
    rows: TableRows = []
    for scores in models:
        if scores.two_phase:
            cheap = scores.cheap_alone()
            for metric in metrics:
                corrected, alone = (side.mean(metric, resampling) for side in (scores, cheap))
                rows.append(
                    {"what": scores.label, "metric": metric, **_beside(corrected, alone), **_sample(scores, metric)}
                )
    return rows


def gap_rows(
    groups: Mapping[str, AnswerScores], pairs: Sequence[tuple[str, str]], metrics: Sequence[str], resampling: Resampling
) -> TableRows:
    """The same for differences between groups."""
    rows: TableRows = []
    for left, right in pairs:
        a, b = groups[left], groups[right]
        if a.two_phase and b.two_phase:
            for metric in metrics:
                corrected = a.difference(b, metric, resampling)
                alone = a.cheap_alone().difference(b.cheap_alone(), metric, resampling)
                row = {"what": f"{left} minus {right}", "metric": metric, **_beside(corrected, alone)}
                samples = [_sample(side, metric) for side in (a, b)]
                counts = {name: sum(sample[name] for sample in samples) for name in ("answers", "drawn", "dear")}
                rows.append(row | counts | dict.fromkeys(("r", "residual_sd")))
    return rows


def _beside(corrected: Estimate, alone: Estimate) -> TableRow:
    row = {**prefixed("corrected", corrected, p=False), **prefixed("cheap_alone", alone, p=False)}
    return row | {"off": alone.estimate - corrected.estimate}


def _sample(scores: AnswerScores, metric: str) -> TableRow:
    cheap, dear = scores[metric + CHEAP], scores[metric + DEAR]
    both = ~np.isnan(cheap) & ~np.isnan(dear)
    varies = both.sum() > 2 and min(cheap[both].std(), dear[both].std()) > 0
    residuals = dear - scores[metric + PREDICTION]
    return {
        "answers": int((~np.isnan(scores[INCLUSION])).sum()),
        "drawn": int(scores[DRAWN].sum()),
        "dear": int((~np.isnan(dear)).sum()),
        "r": float(np.corrcoef(cheap[both], dear[both])[0, 1]) if varies else None,
        "residual_sd": float(np.sqrt(np.nanmean(residuals**2))) if both.any() else None,
    }


def phase_table(rows: TableRows) -> dict[str, TableRows]:
    """The table by name; none where no scores are two-phase."""
    return {"phases": rows} if rows else {}


def phase_blocks(tables: Mapping[str, TableRows], note: str = "") -> tuple[Block, ...]:
    """A paragraph, with a note to end it, and a table; nothing where no scores are two-phase."""
    if not (rows := tables.get("phases", [])):
        return ()
    metric = "aligned" if row_where(rows, metric="aligned").get("what") else rows[0]["metric"]
    shown = rows_where(rows, metric=metric)
    worst = max(shown, key=lambda row: abs(row["off"] or 0.0))
    least = min(shown, key=lambda row: row["dear"])
    drawn, scored = (sum(row[name] for row in shown) for name in ("drawn", "dear"))
    lost = f" {drawn - scored:,} of {drawn:,} drawn answers have no dear score, and are taken as a random part."
    few = f" {least['what']} has {least['dear']} dear scores: with fewer than {FEW}, intervals can be too short."
    return (
        paragraph(
            "Two judges: a cheap one scored all answers, a dear one a sample drawn by chance with known probabilities. "
            "Means, differences and rates here are those of the dear judge's scores, estimated from both. The cheap "
            "judge alone would have said {alone} points of {metric} for {what}, where both together say {corrected}: "
            "it is off by {off}.{few}{lost} {note}",
            alone=number(worst, "phases", name="cheap_alone"),
            corrected=number(worst, "phases", name="corrected"),
            off=number(worst, "phases", name="off"),
            metric=metric,
            what=worst["what"],
            few=few if least["dear"] < FEW else "",
            lost=lost if scored < drawn else "",
            note=note,
        ),
        Table(
            "phases",
            "The two phases: means (or differences) corrected by the dear judge, with 95% intervals that hold the "
            "sampling of its answers and of questions; what the cheap judge alone would have said, as sure of itself; "
            "how far off that is (points); answers, how many of them were drawn and have a dear score; r of the two "
            "judges over these, and the standard deviation of what the cheap score leaves open.",
            (
                *columns("text", what="of", metric="metric"),
                Column("corrected", "both judges [95%]", "points", interval=True),
                Column("cheap_alone", "cheap alone [95%]", "points", interval=True),
                *columns("points", off="off by"),
                *columns("count", answers="answers", drawn="drawn", dear="dear scores"),
                *(Column("r", "r", "r"), Column("residual_sd", "left open (SD)", "points")),
            ),
            rows,
        ),
    )


def predicted_gaps(
    groups: Mapping[str, AnswerScores], pairs: Sequence[tuple[str, str]], metrics: Sequence[str], level: float
) -> TableRows:
    """Each question's predicted mean in every group and each contrast, with the prediction's interval and no test."""
    from scipy.stats import norm

    about = groups["base"].questions()
    names, reach = list(about), float(norm.ppf((1 + level) / 2))
    rows: TableRows = []
    for metric in metrics:
        predicted = {group: scores.predictions(metric, names) for group, scores in groups.items()}
        for left, right in pairs:
            a, b = predicted[left], predicted[right]
            error = np.sqrt(a.errors**2 + b.errors**2 + a.scatter**2 + b.scatter**2)
            for index, (name, question) in enumerate(about.items()):
                gap, wide = float(a.means[index] - b.means[index]), reach * float(error[index])
                low, high = np.clip([gap - wide, gap + wide], -WIDEST, WIDEST).tolist()
                count = int(np.nansum([a.labelled[index], b.labelled[index]]))
                rows.append(
                    {
                        "question": name,
                        "category": question["category"],
                        "family": question["family"],
                        "metric": metric,
                        "contrast": f"{left}-{right}",
                        "left_mean": float(a.means[index]),
                        "right_mean": float(b.means[index]),
                        "base_mean": float(predicted["base"].means[index]),
                        **Estimate(gap, low, high, count, float("nan"), float("nan")).as_row(),
                        "dear_answers": count,
                    }
                )
    return rows
