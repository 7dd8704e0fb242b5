"""The whole reproduction: a folder of the release in, every published number beside ours out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from spillover.analyses.rows import TableRow
from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.cells import Cell
from spillover.papers.em_generalization.reproduce import figures
from spillover.papers.em_generalization.reproduce.dynamics import dynamics_cells, dynamics_points, matched_rows
from spillover.papers.em_generalization.reproduce.geometry import (
    across_k_cells,
    claim,
    claim_rows,
    geometry_cells,
    prompt_rows,
)
from spillover.papers.em_generalization.reproduce.prediction import prediction_cells
from spillover.papers.em_generalization.reproduce.priors import ComparisonMade, comparison_rows, prior_cells, rate_cells
from spillover.papers.em_generalization.reproduce.released import Release, read_release
from spillover.papers.em_generalization.reproduce.single_runs import (
    em_rate_cells,
    em_rate_rows,
    run_table_cells,
    summary_cells,
)
from spillover.papers.paper import PaperPart, Reproduction, StageProgress, with_progress

TITLE = "The paper's numbers"
ABOUT = (
    "What Shapes Emergent Misalignment? (arXiv 2606.20814), number by number: computed anew from its released files "
    "(aisa-group/em-generalization)."
)


def reproduce_release(path: Path, progress: StageProgress) -> Reproduction:
    """Compare every published number that the files below `path` hold; ValueError where they are no release."""
    release = read_release(path, progress)
    matched = matched_rows(release)
    claims = [claim(run) for run in release.geometry]
    made: list[ComparisonMade] = []

    def priors() -> Iterator[Cell]:
        for published in release.comparisons:
            of_comparisons, comparisons = prior_cells(published, release.priors, release.runs)
            made.extend(comparisons)
            yield from of_comparisons

    stages: dict[str, Callable[[], Iterator[Cell]]] = {
        "dynamics": lambda: dynamics_cells(matched),
        "runs": lambda: run_table_cells(release.rows("runs"), release.runs),
        "prior": priors,
        "rates": lambda: rate_cells(release.rows("rates"), made),
        "prediction": lambda: prediction_cells(release.cross_validated),
        "geometry": lambda: geometry_cells(release.geometry, claims),
        "across_k": lambda: across_k_cells(release.rows("across_k"), release.geometry),
    }
    cells: list[Cell] = []
    for index, (stage, of_stage) in enumerate(stages.items()):
        progress(stage, index / len(stages))
        cells += of_stage()
    for run in with_progress("summary", release.runs, progress):
        cells += summary_cells(run)
        cells += em_rate_cells(run)
    cells += _problem_cells(release.problems)
    tables = {
        "dynamics": {"points": dynamics_points(matched)},
        "prior": {"comparisons": comparison_rows(made)},
        "geometry": {"claims": claim_rows(release.geometry, claims), "prompts": prompt_rows(release.geometry)},
        "em_rate": {"em_rates": em_rate_rows(cells)},
    }
    return Reproduction(TITLE, ABOUT, _numbered(cells), _parts(tables), _counts(release), release.problems)


def _parts(tables: dict[str, dict[str, list[TableRow]]]) -> dict[str, PaperPart]:
    """What the page says of each part, with its tables, those that are empty left out, and its figures."""
    described = {
        "dynamics": ("Training dynamics", "Loss against score over the schedule runs: max_diff, r, p, middles."),
        "runs": ("One line a run", "Scores by answer format, losses and rates in the published table of runs."),
        "prior": ("Before and after", "Each question's score before and after narrow training, model by model."),
        "rates": ("Shares of comparisons", "How many of those comparisons have p below a bound, over all models."),
        "prediction": ("Predicting from activations", "What of the tables follows from their own columns."),
        "geometry": (
            "Activation shifts",
            "Summaries from the per-prompt rows; prompt overlap and shift similarity.",
        ),
        "across_k": ("Shifts by number of axes", "The published table over k, as far as per-prompt rows allow."),
        "summary": ("Scores of single runs", "Means and SDs by question and overall, from the answers themselves."),
        "em_rate": ("EM rates", "Shares of answers with aligned < 30 and coherent > 50, strict and conditional."),
        "files": ("Files that cannot be read", "Each is left out, and everything that does not hang on it stands."),
    }
    drawn = {
        "dynamics": figures.dynamics_figures(**tables["dynamics"]),
        "prior": figures.prior_figures(**tables["prior"]),
        "geometry": figures.geometry_figures(**tables["geometry"]),
        "em_rate": figures.em_rate_figures(tables["em_rate"]["em_rates"]),
    }
    return {
        part: PaperPart(
            title,
            description,
            {name: rows for name, rows in tables.get(part, {}).items() if rows},
            drawn.get(part, ()),
        )
        for part, (title, description) in described.items()
    }


def _problem_cells(problems: Sequence[Rejected]) -> Iterator[Cell]:
    """A cell for each file that could not be read, or not in all its lines."""
    by_file: dict[str, list[Rejected]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    for file, lines in by_file.items():
        whole = [problem.why for problem in lines if problem.line == 0]
        why = whole or [f"line {problem.line}: {problem.why}" for problem in lines]
        more = [] if whole or len(why) <= 3 else [f"{len(why) - 3} more lines"]
        reason = "a file that cannot be read" if whole else "lines that cannot be read"
        yield Cell(f"files/{file}", None, None, reason, "; ".join([*why[:3], *more]))


def _numbered(cells: list[Cell]) -> list[Cell]:
    """Cells with names of their own: where two tables print the same number twice, the later ones are numbered."""
    times: dict[str, int] = {}
    named = []
    for cell in cells:
        times[cell.name] = time = times.get(cell.name, 0) + 1
        named.append(cell if time == 1 else replace(cell, name=f"{cell.name} ({time})"))
    return named


def _counts(release: Release) -> dict[str, int]:
    return {
        "runs": len(release.runs),
        "of them with answers": sum(run.answers is not None for run in release.runs),
        "answers": sum(run.answers.counted.answers for run in release.runs if run.answers is not None),
        "published tables": sum(map(len, release.tables.values())) + len(release.comparisons),
        "geometry files": len(release.geometry),
        "cross-validation files": len(release.cross_validated),
    }
