"""Loss against score over a question set's schedule runs, row by row of `max_diffs_all_df.csv`. Knows no file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.correlation import correlation_over_runs
from spillover.maths.dynamics import max_diff
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.reliability import from_errors, noise_ceiling
from spillover.papers.cells import Cell, Recommended, same
from spillover.papers.em_generalization.reproduce.dynamics_rows import Row, Table, chosen, published_statistics
from spillover.papers.em_generalization.reproduce.runs import Run, family_of

PART = "dynamics"
HOW = Resampling(draws=999)
SUBSETS = 400  # of our own draws where the published one is unknown
UNKNOWN_SUBSET = "which questions were drawn"


Found = list[tuple[Row, Table | None, tuple[str, str]]]


def looked_up(rows: Sequence[Row], runs: Sequence[Run], listed: Sequence[str] = ()) -> Found:
    """Each row with the runs behind it, or with (reason, note) why there are none."""
    return [(row, *chosen(row, runs, listed)) for row in rows]


def dynamics_points(found: Found) -> list[dict[str, Any]]:
    """One line a run and row over all questions: loss, score, its standard error from the answers."""
    return [
        {
            "row": row.name,
            "set": row.set,
            "metric": row.metric,
            "loss": row.loss,
            "run": run.label,
            "schedule": run.name.schedule,
            "learning_rate": run.name.learning_rate,
            "x": float(table.x[at]),
            "y": float(table.y[at]),
            "error": float(table.errors[at]),
        }
        for row, table, _ in found
        if table is not None and row.sample is None
        for at, run in enumerate(table.runs)
    ]


def dynamics_cells(found: Found) -> Iterator[Cell]:
    """Every number of the table."""
    reports = {row.name: _reported(row, table) for row, table, _ in found if table is not None and row.sample is None}
    reports = _corrected(reports)
    for row, table, why in found:
        if table is None:
            for column, value in row.published.items():
                yield Cell(f"{PART}/{row.name}/{column}", value, None, *why)
        elif row.sample is None:
            yield from _whole(row, table, reports[row.name], why[1])
        else:
            yield from _drawn(row, table, why[1])


def _whole(row: Row, table: Table, reported: Mapping[str, Recommended], note: str) -> Iterator[Cell]:
    ours: dict[str, float] = {"sample_size": float(len(table.questions))} | published_statistics(table.x, table.y)
    also = {
        "avg_x": f"named avg: the median of log loss; the mean is {np.log(table.x).mean():.10g}",
        "avg_y": f"named avg: the median over runs; the mean is {table.y.mean():.10g}",
    }
    for column, value in row.published.items():
        known = ours.get(column)
        reason = f"what {column} is" if known is None else "" if same(value, known) else "unexplained"
        if reason == "unexplained" and row.runs not in (None, len(table.runs)):
            reason = "not the same runs"
        text = "; ".join(part for part in (also.get(column, ""), note) if part)
        yield Cell(f"{PART}/{row.name}/{column}", value, known, reason, text, reported.get(column))


def _drawn(row: Row, table: Table, note: str) -> Iterator[Cell]:
    """A row over a random draw of questions: what does not hang on the draw, and the range of draws of our own."""
    assert row.sample is not None
    fixed = published_statistics(table.x, table.y)["avg_x"]
    ranges = subset_range(table, row.sample)
    for column, value in row.published.items():
        name = f"{PART}/{row.name}/{column}"
        if column == "avg_x":
            yield Cell(name, value, fixed, "", f"median of log loss, whatever was drawn; {note}")
            continue
        if column == "sample_size":
            yield Cell(name, value, None, UNKNOWN_SUBSET, "a setting, which the row's name repeats")
            continue
        drawn = ranges.get(column)
        if drawn is None:
            yield Cell(name, value, None, UNKNOWN_SUBSET, note)
            continue
        low, mid, high = (float(end) for end in np.quantile(drawn, [0.025, 0.5, 0.975]))
        share = float((drawn <= value).mean())
        text = (
            f"{row.sample} of {len(table.questions)} questions, drawn with no known seed; {len(drawn)} draws of ours "
            f"give {mid:.6g}, 95% of them {low:.6g} to {high:.6g}; the published value lies above {share:.0%} of them"
        )
        beside = Recommended(
            mid, low, high, row.sample, "questions drawn", note="median and 95% range of our own draws"
        )
        yield Cell(name, value, None, UNKNOWN_SUBSET, f"{text}; {note}", beside)


def subset_range(table: Table, size: int, draws: int = SUBSETS) -> dict[str, Floats]:
    """Each statistic over random draws of `size` questions, y their mean: (draws,); nothing where there are too few."""
    whole = ~np.isnan(table.means).any(axis=0)
    means = table.means[:, whole]
    if means.shape[1] < size:
        return {}
    rng = np.random.default_rng(size)
    chosen = np.array([rng.choice(means.shape[1], size, replace=False) for _ in range(draws)])
    return statistics_of_many(table.x, means[:, chosen].mean(axis=2).T)


def statistics_of_many(x: Floats, ys: Floats) -> dict[str, Floats]:
    """`published_statistics` of each row of ys (draws, runs) against the same x (runs,), but avg_x: (draws,) each."""
    from scipy.stats import beta

    a, b = np.log(x) - np.log(x).mean(), ys - ys.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip(b @ a / (np.linalg.norm(a) * np.linalg.norm(b, axis=1)), -1.0, 1.0)
    pairs = (x[:, None] <= x[None, :]) & ~np.eye(len(x), dtype=bool)
    gains = np.where(pairs, ys[:, :, None] - ys[:, None, :], -np.inf).max(axis=(1, 2))
    p = 2 * beta.sf(np.abs(r), len(x) / 2 - 1, len(x) / 2 - 1, loc=-1, scale=2)
    return {"max_diff": gains, "r2": r**2, "pearsonr_stats": r, "pearsonr_p": p, "avg_y": np.median(ys, axis=1)}


def _reported(row: Row, table: Table) -> dict[str, Recommended]:
    """What we would say: r over runs and questions with its ceiling, the gain against its null, means."""
    families = [family_of(name) for name in table.questions]
    found = correlation_over_runs(table.x, table.means, families, resampling=HOW)
    runs, noisy = len(table.runs), not np.isnan(table.errors).any() and (table.errors > 0).all()
    ceiling = noise_ceiling(1.0, from_errors(table.y, table.errors).value).r if noisy else None
    note = "new runs and new questions; questions that some run lacks are left out"
    r = Recommended.from_estimate(found.both, "runs", noise_ceiling=ceiling, note=note)
    gain = max_diff(table.x, table.y, table.errors if noisy else None, HOW)
    chance = (
        ""
        if gain.expected is None
        else f"a monotone relation with the answers' noise gives {gain.expected:.3g} on average"
    )
    return {
        "pearsonr_stats": r,
        "pearsonr_p": r,
        "r2": replace(r, estimate=_square(r.estimate), low=None, high=None, noise_ceiling=_square(ceiling)),
        "max_diff": Recommended(gain.value, n=runs, unit="runs", p=gain.p, note=chance),
        "avg_x": Recommended(float(np.log(table.x).mean()), n=runs, unit="runs", note="mean of log loss"),
        "avg_y": Recommended(float(table.y.mean()), n=runs, unit="runs", note="mean over runs"),
    }


def _corrected(reports: Mapping[str, Mapping[str, Recommended]]) -> dict[str, dict[str, Recommended]]:
    """With q over the rows of the table, r and max_diff each a family."""
    found = {name: dict(columns) for name, columns in reports.items()}
    for column in ("pearsonr_stats", "pearsonr_p", "r2", "max_diff"):
        values = [math.nan if (p := columns[column].p) is None else p for columns in found.values()]
        for columns, q in zip(found.values(), benjamini_hochberg(values), strict=True):
            columns[column] = replace(columns[column], q=None if math.isnan(q) else float(q))
    return found


def _square(value: float | None) -> float | None:
    return None if value is None else value * value
