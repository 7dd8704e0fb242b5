"""Loss against score over a question set's schedule runs: the rows of `max_diffs_all_df.csv`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from spillover.analyses.rows import TableRow
from spillover.judgements.tables.row_reader import Rejected
from spillover.maths.arrays import Floats
from spillover.maths.correlation import correlation_over_runs
from spillover.maths.dynamics import max_diff
from spillover.maths.estimate import Resampling
from spillover.maths.multiplicity import benjamini_hochberg
from spillover.maths.reliability import from_errors, noise_ceiling
from spillover.papers.cells import UNEXPLAINED, Cell, Recommended, as_float, numbers, same
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.reproduce.released import Release, ReleasedRun, family_of
from spillover.papers.em_generalization.reproduce.textbook import pearson_normal, two_sided_r

ROW_NAME = re.compile(r"^(?P<set>[A-Za-z]+\d*)-(?P<metric>[a-z_]+?)(?P<sample>\d*)-(?P<loss>(?:train|eval)_\w+)$")
TEXT_COLUMNS = ("dataset_type", "loss_type", "metrics_type", "Unnamed: 0")
RESAMPLING = Resampling(draws=999)
DRAWS = 400  # of questions by us, where the published draw is unknown
UNKNOWN_DRAW = "which questions were drawn"


@dataclass(frozen=True)
class DynamicsRow:
    """A published row: question set, metric, loss column, size of a random draw of questions (None: all questions)."""

    name: str
    questions: str
    metric: str
    loss: str
    sample: int | None
    published: Mapping[str, float]

    @classmethod
    def parsed(cls, row: Mapping[str, str]) -> Self:
        """A line of the table; ValueError where its name has another form."""
        name = next((row[key] for key in ("", "Unnamed: 0", "row", "name") if row.get(key)), "")
        parts = ROW_NAME.match(name)
        if not parts:
            raise ValueError(
                f"row {name!r} is not named SET-METRIC[SIZE]-LOSS (such as fpq-harmless-train_final_avg_loss)"
            )
        sample = int(parts["sample"]) if parts["sample"] else None
        return cls(name, parts["set"], parts["metric"], parts["loss"], sample, numbers(row, TEXT_COLUMNS))

    @property
    def number_of_runs(self) -> int | None:
        """The number of runs behind the published r and p; None where they do not tell."""
        r, p = (self.published.get(column, math.nan) for column in ("pearsonr_stats", "pearsonr_p"))
        return number_behind(r, p)

    def is_of(self, questions: str) -> bool:
        """Whether a question set, as the release spells it, is the row's: hbpnano is hbp, general200 is not general."""
        return re.fullmatch(rf"{self.questions}(\D.*)?", questions) is not None


@dataclass(frozen=True)
class ScheduleRuns:
    """What a row is computed from.

    losses, scores: (runs,). question_scores: (runs, questions). errors: (runs,), standard errors of the scores from the
    answers; NaN where their number is unknown.
    """

    runs: tuple[ReleasedRun, ...]
    losses: Floats
    scores: Floats
    question_scores: Floats
    questions: tuple[str, ...]
    errors: Floats

    @property
    def noisy(self) -> bool:
        """Whether the answers' noise is known."""
        return bool((self.errors > 0).all())


@dataclass(frozen=True)
class MatchedRow:
    """A row with the runs behind it, or with a reason why there are none."""

    row: DynamicsRow
    runs: ScheduleRuns | None
    reason: str
    note: str


def matched_rows(release: Release) -> list[MatchedRow]:
    """Every published row with its runs; rows with a name of another form become problems of the release."""
    rows = []
    for file, lines in release.tables["max_diffs"].items():
        for line in lines:
            try:
                rows.append(DynamicsRow.parsed(line))
            except ValueError as error:
                release.problems.append(Rejected(file, 0, str(error)))
    listed = {}
    for row in release.rows("runs"):
        try:
            listed[row["run"]] = RunName.parsed(row["run"]).questions
        except (KeyError, ValueError):
            continue
    return [match_runs(row, release.runs, listed) for row in rows]


def match_runs(row: DynamicsRow, runs: Sequence[ReleasedRun], listed: Mapping[str, str]) -> MatchedRow:
    """The runs behind a row, as the published n and median loss tell.

    listed: question sets of runs that a published table names; where some are the row's, these are its runs.
    """
    count = row.number_of_runs
    missing = f"schedule runs of {row.questions}"
    wanted = [file_name for file_name, questions in listed.items() if row.is_of(questions)]
    if wanted and len(wanted) >= (count or 0):  # a list that is cut off tells nothing
        absent = sorted(set(wanted) - {run.file_name for run in runs if run.has_summary})
        if absent:
            return MatchedRow(row, None, missing, f"{len(absent)} of {len(wanted)}: {_first_of(absent)}")
        runs = [run for run in runs if run.file_name in wanted]
    groups = _groups(row, runs)
    if not groups:
        note = f"{count or 'an unknown number of'} runs; none of them is here"
        return MatchedRow(row, None, missing, note)
    candidates = [candidate for group in groups if (candidate := _schedule_runs(row, group)) is not None]
    if not candidates:
        return MatchedRow(row, None, f"losses or {row.metric} scores of the {missing}", "")
    best = min(candidates, key=lambda candidate: _distance(row, candidate, count or 0))
    present = len(best.runs)
    if count is not None and present < count:
        file_names = sorted(run.file_name for run in best.runs)
        note = f"r and p tell of {count} runs, {present} of them are here: {_first_of(file_names)}"
        return MatchedRow(row, None, missing, note)
    more = "" if count in (None, present) else f"; published r and p tell of {count} runs"
    return MatchedRow(row, best, "", f"{present} schedule runs of {best.runs[0].questions}{more}")


def number_behind(r: float, p: float) -> int | None:
    """n for which Pearson's r has this two-sided p; None where none of 3 to 2,000 comes within 1e-6."""
    if not 0 < abs(r) < 1 or not 0 < p < 1:
        return None
    sizes = np.arange(3, 2001)
    with np.errstate(divide="ignore"):
        gaps = np.abs(np.log(two_sided_r(r, sizes)) - math.log(p))
    best = int(np.argmin(gaps))
    return int(sizes[best]) if gaps[best] < 1e-6 else None


def published_statistics(losses: Floats, scores: Floats) -> dict[str, float]:
    """A row's columns as released, of (runs,) each: r is of log loss; avg_x and avg_y are medians."""
    r, p = pearson_normal(np.log(losses), scores)
    return {
        "max_diff": max_diff(losses, scores).value,
        "r2": r * r,
        "pearsonr_stats": r,
        "pearsonr_p": p,
        "avg_x": float(np.median(np.log(losses))),
        "avg_y": float(np.median(scores)),
    }


def statistics_of_draws(runs: ScheduleRuns, size: int, draws: int = DRAWS) -> dict[str, Floats]:
    """Each statistic over random draws of `size` questions: (draws,); nothing where there are too few questions."""
    whole = ~np.isnan(runs.question_scores).any(axis=0)
    scores = runs.question_scores[:, whole]
    if scores.shape[1] < size:
        return {}
    rng = np.random.default_rng(size)
    chosen = np.array([rng.choice(scores.shape[1], size, replace=False) for _ in range(draws)])
    drawn = [published_statistics(runs.losses, row) for row in scores[:, chosen].mean(axis=2).T]
    return {name: np.array([statistics[name] for statistics in drawn]) for name in drawn[0]}


def dynamics_points(matched: Sequence[MatchedRow]) -> list[TableRow]:
    """One line a run and row over all questions: loss, score, its standard error from the answers."""
    return [
        {
            "row": match.row.name,
            "set": match.row.questions,
            "metric": match.row.metric,
            "loss": match.row.loss,
            "run": run.label,
            "schedule": run.name.schedule,
            "learning_rate": run.name.learning_rate,
            "x": float(match.runs.losses[index]),
            "y": float(match.runs.scores[index]),
            "error": float(match.runs.errors[index]),
        }
        for match in matched
        if match.runs is not None and match.row.sample is None
        for index, run in enumerate(match.runs.runs)
    ]


def dynamics_cells(matched: Sequence[MatchedRow]) -> Iterator[Cell]:
    """Every number of the table."""
    recommended = _with_q(
        {
            match.row.name: _recommended(match.runs)
            for match in matched
            if match.runs is not None and match.row.sample is None
        }
    )
    for match in matched:
        row = match.row
        if match.runs is None:
            for column, published in row.published.items():
                yield Cell(f"dynamics/{row.name}/{column}", published, None, match.reason, match.note)
        elif row.sample is None:
            yield from _of_all_questions(row, match.runs, recommended[row.name], match.note)
        else:
            yield from _of_drawn_questions(row, row.sample, match.runs, match.note)


def _groups(row: DynamicsRow, runs: Sequence[ReleasedRun]) -> list[tuple[ReleasedRun, ...]]:
    """Schedule runs that could stand behind a row: of one model, dataset, module set and spelling of the set."""
    groups: dict[tuple[str, ...], list[ReleasedRun]] = {}
    for run in runs:
        if run.name.scheduled and run.has_summary and row.is_of(run.questions):
            alike = (run.name.model, str(run.name.data), str(run.name.modules), run.questions)
            for folder in ("", run.folder):
                groups.setdefault((folder, *alike), []).append(run)
    distinct = [group for group in groups.values() if len({run.file_name for run in group}) == len(group)]
    return list(dict.fromkeys(tuple(group) for group in distinct))


def _distance(row: DynamicsRow, runs: ScheduleRuns, count: int) -> tuple[float, float, float]:
    """How far runs are from a row by their number, then their median loss, then their median score."""
    medians = {"avg_x": float(np.median(np.log(runs.losses))), "avg_y": float(np.median(runs.scores))}
    gaps = [abs(median - row.published.get(column, math.nan)) for column, median in medians.items()]
    loss_gap, score_gap = (0.0 if math.isnan(gap) else round(gap, 9) for gap in gaps)
    return abs(len(runs.runs) - count), loss_gap, score_gap


def _schedule_runs(row: DynamicsRow, runs: Sequence[ReleasedRun]) -> ScheduleRuns | None:
    """Those of the runs that have both loss and score; None where fewer than 3 do."""
    points = [(run, run.loss(row.loss), as_float(run.summary.agg.get(row.metric))) for run in runs]
    points = [point for point in points if not math.isnan(point[1]) and not math.isnan(point[2])]
    if len(points) < 3:
        return None
    used, losses, scores = zip(*points, strict=True)
    questions = tuple(sorted(set.intersection(*(set(run.summary.by_question) for run in used))))

    def by_question(column: str) -> Floats:
        rows = [[as_float(run.summary.by_question[name].get(column)) for name in questions] for run in used]
        return np.array(rows).reshape(len(used), len(questions))

    errors = _errors(used, by_question(f"{row.metric}_std"))
    return ScheduleRuns(used, np.array(losses), np.array(scores), by_question(row.metric), questions, errors)


def _errors(runs: Sequence[ReleasedRun], sds: Floats) -> Floats:
    """Standard error of each run's mean from its answers alone, of (runs, questions) SDs: (runs,)."""
    counts = np.array([math.nan if (count := run.answers_per_question) is None else count for run in runs])
    if np.isnan(counts).all():
        return np.full(len(runs), np.nan)
    counts = np.where(np.isnan(counts), np.nanmedian(counts), counts)  # runs of one table were asked alike
    questions = np.maximum((~np.isnan(sds)).sum(axis=1), 1)
    return np.asarray(np.sqrt(np.nansum(sds**2, axis=1) / questions**2 / counts))


def _of_all_questions(
    row: DynamicsRow, runs: ScheduleRuns, recommended: Mapping[str, Recommended], note: str
) -> Iterator[Cell]:
    statistics = {"sample_size": float(len(runs.questions)), **published_statistics(runs.losses, runs.scores)}
    means = {
        "avg_x": f"named avg: the median of log loss; the mean is {np.log(runs.losses).mean():.10g}; ",
        "avg_y": f"named avg: the median over runs; the mean is {runs.scores.mean():.10g}; ",
    }
    for column, published in row.published.items():
        ours = statistics.get(column)
        reason = f"what {column} is" if ours is None else UNEXPLAINED
        if ours is not None and not same(published, ours) and row.number_of_runs not in (None, len(runs.runs)):
            reason = "not the same runs"
        name = f"dynamics/{row.name}/{column}"
        yield Cell(name, published, ours, reason, means.get(column, "") + note, recommended.get(column))


def _of_drawn_questions(row: DynamicsRow, size: int, runs: ScheduleRuns, note: str) -> Iterator[Cell]:
    """A row over a random draw of questions: what does not hang on the draw, and the range of draws of our own."""
    drawn = statistics_of_draws(runs, size)
    for column, published in row.published.items():
        name = f"dynamics/{row.name}/{column}"
        if column == "avg_x":
            ours = float(np.median(np.log(runs.losses)))
            yield Cell(name, published, ours, note=f"median of log loss, whatever was drawn; {note}")
        elif column == "sample_size":
            yield Cell(name, published, None, UNKNOWN_DRAW, "a setting, which the row's name repeats")
        elif column not in drawn:
            yield Cell(name, published, None, UNKNOWN_DRAW, note)
        else:
            low, median, high = (float(end) for end in np.quantile(drawn[column], [0.025, 0.5, 0.975]))
            below = drawn[column] <= published + 1e-9 * abs(published)  # not by the last digits of a float
            text = (
                f"{size} of {len(runs.questions)} questions, drawn with no known seed; {len(drawn[column])} draws of "
                f"ours give {median:.6g}, 95% of them {low:.6g} to {high:.6g}; the published value lies above "
                f"{below.mean():.0%} of them; {note}"
            )
            ours_note = "median and 95% range of our own draws"
            recommended = Recommended(median, low, high, size, "questions drawn", note=ours_note)
            yield Cell(name, published, None, UNKNOWN_DRAW, text, recommended)


def _recommended(runs: ScheduleRuns) -> dict[str, Recommended]:
    """What we would say: r over runs and questions with its ceiling, the gain against its null, means."""
    families = [family_of(name) for name in runs.questions]
    estimate = correlation_over_runs(runs.losses, runs.question_scores, families, resampling=RESAMPLING).both
    ceiling = noise_ceiling(1.0, from_errors(runs.scores, runs.errors).value).r if runs.noisy else None
    note = "new runs and new questions; questions that some run lacks are left out"
    r = Recommended.from_estimate(estimate, "runs", noise_ceiling=ceiling, note=note)
    r2 = None if ceiling is None else ceiling * ceiling
    gain = max_diff(runs.losses, runs.scores, runs.errors if runs.noisy else None, RESAMPLING)
    chance = f"a monotone relation with the answers' noise gives {gain.expected or 0.0:.3g} on average"

    def mean(values: Floats, note: str) -> Recommended:
        return Recommended(float(values.mean()), n=len(values), unit="runs", note=note)

    return {
        "pearsonr_stats": r,
        "pearsonr_p": r,
        "r2": replace(r, estimate=estimate.estimate**2, low=None, high=None, noise_ceiling=r2),
        "max_diff": Recommended(
            gain.value, n=len(runs.runs), unit="runs", p=gain.p, note="" if gain.expected is None else chance
        ),
        "avg_x": mean(np.log(runs.losses), "mean of log loss"),
        "avg_y": mean(runs.scores, "mean over runs"),
    }


def _with_q(by_row: dict[str, dict[str, Recommended]]) -> dict[str, dict[str, Recommended]]:
    """With q over the rows of the table, r and max_diff each a family."""
    for column in ("pearsonr_stats", "pearsonr_p", "r2", "max_diff"):
        corrected = benjamini_hochberg([as_float(columns[column].p) for columns in by_row.values()])
        for columns, q in zip(by_row.values(), corrected, strict=True):
            columns[column] = replace(columns[column], q=None if math.isnan(q) else float(q))
    return by_row


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
