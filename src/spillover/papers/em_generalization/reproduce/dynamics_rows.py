"""Which runs and numbers stand behind a row of `max_diffs_all_df.csv`. Knows runs and the row, computes no verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spillover.maths.arrays import Floats
from spillover.maths.correlation import log_pearson
from spillover.maths.dynamics import max_diff
from spillover.maths.estimate import Resampling
from spillover.papers.cells import as_number, numbers
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.reproduce.runs import Run
from spillover.papers.em_generalization.reproduce.textbook import pearson_normal

NAME = re.compile(r"^(?P<set>[A-Za-z]+\d*)-(?P<metric>[a-z_]+?)(?P<sample>\d*)-(?P<loss>(?:train|eval)_\w+)$")
FEW = Resampling(draws=99)  # of an estimate whose interval is made elsewhere


@dataclass(frozen=True)
class Row:
    """A published row: its name, the question set, metric, loss column, size of a random draw (None: all questions)."""

    name: str
    set: str
    metric: str
    loss: str
    sample: int | None
    published: Mapping[str, float]

    @property
    def runs(self) -> int | None:
        """The number of runs behind the published r and p; None where they do not tell."""
        r, p = self.published.get("pearsonr_stats", math.nan), self.published.get("pearsonr_p", math.nan)
        return runs_behind(r, p)

    def asked(self, questions: str) -> bool:
        """Whether a question set, as the release spells it, is the row's: hbpnano is hbp, general200 is not general."""
        return re.fullmatch(rf"{self.set}(\D.*)?", questions) is not None


@dataclass(frozen=True)
class Table:
    """What a row is computed from: runs in order, x and overall scores y (runs,), question means (runs, questions)."""

    runs: tuple[Run, ...]
    x: Floats
    y: Floats
    means: Floats
    questions: tuple[str, ...]
    errors: Floats  # (runs,) standard errors of y from the answers; NaN where their number is unknown


def parse(row: Mapping[str, Any], name: str) -> Row:
    """A line of the table; ValueError where its name has another form."""
    found = NAME.match(name)
    if not found:
        raise ValueError(f"row {name!r} is not named SET-METRIC[SIZE]-LOSS (such as fpq-harmless-train_final_avg_loss)")
    aside = ("dataset_type", "loss_type", "metrics_type", "", "Unnamed: 0")
    sample = int(found["sample"]) if found["sample"] else None
    return Row(name, found["set"], found["metric"], found["loss"], sample, numbers(row, aside))


def runs_behind(r: float, p: float) -> int | None:
    """n for which Pearson's r has this two-sided p; None where none of 3 to 2,000 comes within 1e-6."""
    from scipy.stats import beta

    if not 0 < abs(r) < 1 or not 0 < p < 1:
        return None
    sizes = np.arange(3, 2001)
    tails = 2 * beta.sf(abs(r), sizes / 2 - 1, sizes / 2 - 1, loc=-1, scale=2)
    with np.errstate(divide="ignore"):
        gaps = np.abs(np.log(tails) - math.log(p))
    best = int(np.argmin(gaps))
    return int(sizes[best]) if gaps[best] < 1e-6 else None


def candidates(row: Row, runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Groups of schedule runs that could stand behind a row: one model, dataset, module set and spelling of the set."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if run.name.scheduled and run.summary is not None and row.asked(run.questions):
            alike = (run.name.model, str(run.name.data), str(run.name.modules), run.questions)
            for key in (("", *alike), (run.folder, *alike)):
                groups.setdefault(key, []).append(run)
    whole = [group for group in groups.values() if len({run.stem for run in group}) == len(group)]
    return list(dict.fromkeys(tuple(group) for group in whole))


def chosen(row: Row, runs: Sequence[Run], listed: Sequence[str] = ()) -> tuple[Table | None, tuple[str, str]]:
    """The runs behind a row, as the published n and median loss tell; else (reason, note) why there are none.

    listed: stems of runs that a published table names; where some are of the row's set, these are its runs.
    """
    wanted = row.runs
    listed_here = [stem for stem in listed if row.asked(RunName.parsed(stem).questions)]
    if listed_here and len(listed_here) >= (wanted or 0):  # a list that is cut off tells nothing
        absent = sorted(set(listed_here) - {run.stem for run in runs if run.summary is not None})
        if absent:
            return None, (f"schedule runs of {row.set}", f"{len(absent)} of {len(listed_here)}: {_names(absent)}")
        runs = [run for run in runs if run.stem in listed_here]
    groups = candidates(row, runs)
    if not groups:
        return None, (f"schedule runs of {row.set}", f"{wanted or 'an unknown number of'} runs; none of them is here")
    tables = [table for group in groups if (table := tabulate(row, group)) is not None]
    if not tables:
        return None, (f"losses or {row.metric} scores of the schedule runs of {row.set}", "")
    best = min(tables, key=lambda table: _distance(row, table, wanted or 0))
    count = len(best.runs)
    if wanted is not None and count < wanted:
        here = _names([run.stem for run in best.runs])
        return None, (f"schedule runs of {row.set}", f"r and p tell of {wanted} runs, {count} of them are here: {here}")
    more = "" if wanted is None or count == wanted else f"; published r and p tell of {wanted} runs"
    return best, ("", f"{count} schedule runs of {best.runs[0].questions}{more}")


def _distance(row: Row, table: Table, wanted: int) -> tuple[float, float, float]:
    """How far a table is from a row by its number of runs, then its median loss, then its median score."""
    middles = (float(np.median(np.log(table.x))), float(np.median(table.y)))
    told = (row.published.get("avg_x", math.nan), row.published.get("avg_y", math.nan))
    gaps = [
        0.0 if math.isnan(value) else round(abs(middle - value), 9) for middle, value in zip(middles, told, strict=True)
    ]
    return abs(len(table.runs) - wanted), gaps[0], gaps[1]


def tabulate(row: Row, runs: Sequence[Run]) -> Table | None:
    """x and y of the runs that have both; None where fewer than 3 do."""
    kept = [run for run in runs if not math.isnan(run.loss(row.loss)) and not math.isnan(_score(run, row.metric))]
    if len(kept) < 3:
        return None
    names = [set(run.summary.by_question) for run in kept if run.summary is not None]
    questions = tuple(sorted(set.intersection(*names)))
    means, spreads = (_by_question(kept, questions, row.metric + end) for end in ("", "_std"))
    return Table(
        tuple(kept),
        np.array([run.loss(row.loss) for run in kept]),
        np.array([_score(run, row.metric) for run in kept]),
        means,
        questions,
        _errors(kept, spreads),
    )


def published_statistics(x: Floats, y: Floats) -> dict[str, float]:
    """A row's columns as released: Pearson of log x and y; avg_x and avg_y are medians, of log x and of y."""
    r, p = log_pearson(x, y, resampling=FEW).estimate, pearson_normal(np.log(x), y)[1]
    return {
        "max_diff": max_diff(x, y).value,
        "r2": r * r,
        "pearsonr_stats": r,
        "pearsonr_p": p,
        "avg_x": float(np.median(np.log(x))),
        "avg_y": float(np.median(y)),
    }


def _names(stems: Sequence[str]) -> str:
    names = sorted(stems)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _errors(runs: Sequence[Run], spreads: Floats) -> Floats:
    """Standard error of each run's mean from its answers alone: (runs,)."""
    each = np.array([math.nan if run.answers_each is None else run.answers_each for run in runs])
    if np.isnan(each).all():
        return np.full(len(runs), np.nan)
    each = np.where(np.isnan(each), np.nanmedian(each), each)  # runs of one table were asked alike
    with np.errstate(invalid="ignore"):
        inside = np.nansum(spreads**2, axis=1) / np.maximum((~np.isnan(spreads)).sum(axis=1), 1) ** 2
    return np.asarray(np.sqrt(inside / each))


def _score(run: Run, metric: str) -> float:
    value = None if run.summary is None else as_number(run.summary.agg.get(metric))
    return math.nan if value is None else value


def _by_question(runs: Sequence[Run], questions: Sequence[str], column: str) -> Floats:
    rows = []
    for run in runs:
        tables = {} if run.summary is None else run.summary.by_question
        values = [as_number(tables[name].get(column)) for name in questions]
        rows.append([math.nan if value is None else value for value in values])
    return np.array(rows).reshape(len(runs), len(questions))
