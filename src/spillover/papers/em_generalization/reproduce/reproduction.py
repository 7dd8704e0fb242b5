"""The whole reproduction: a folder of the release in, every published number beside ours out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.cells import Cell
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.reproduce import geometry
from spillover.papers.em_generalization.reproduce.across_k import across_k_cells
from spillover.papers.em_generalization.reproduce.dynamics import dynamics_cells, dynamics_points, looked_up
from spillover.papers.em_generalization.reproduce.dynamics_rows import Row, parse
from spillover.papers.em_generalization.reproduce.em_rates import em_rate_cells
from spillover.papers.em_generalization.reproduce.figures import figures_of
from spillover.papers.em_generalization.reproduce.gather import Gathered, gather
from spillover.papers.em_generalization.reproduce.geometry import GeometryRun, claim, geometry_cells
from spillover.papers.em_generalization.reproduce.prediction import prediction_cells
from spillover.papers.em_generalization.reproduce.prior import Compared, prior_cells
from spillover.papers.em_generalization.reproduce.rates import rates_cells
from spillover.papers.em_generalization.reproduce.run_table import run_table_cells
from spillover.papers.em_generalization.reproduce.summary import summary_cells
from spillover.papers.paper import PaperPart, Reproduction, StageProgress, TableRow, with_progress

TITLE = "The paper's numbers"
ABOUT = (
    "What Shapes Emergent Misalignment? (arXiv 2606.20814), number by number: computed anew from its released files "
    "(aisa-group/em-generalization)."
)
PARTS = {
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


def reproduce_release(path: Path, progress: StageProgress) -> Reproduction:
    """Compare every published number that the files below `path` hold; ValueError where they are no release."""
    release = gather(path, progress)
    rows, listed = _dynamics_rows(release), _listed(release)
    behind = looked_up(rows, release.runs, listed)
    comparisons: list[Compared] = []

    def priors() -> Iterator[Cell]:
        for _, published in release.comparisons:
            compared_cells, compared = prior_cells(published, release.priors, release.runs)
            comparisons.extend(compared)
            yield from compared_cells

    tables = {kind: [row for _, row in release.rows(kind)] for kind in ("runs", "rates", "across_k")}
    parts: dict[str, Callable[[], Iterator[Cell]]] = {
        "dynamics": lambda: dynamics_cells(behind),
        "runs": lambda: run_table_cells(tables["runs"], release.runs),
        "prior": priors,
        "rates": lambda: rates_cells(tables["rates"], comparisons),
        "prediction": lambda: prediction_cells(release.cross_validated),
        "geometry": lambda: geometry_cells(release.geometry),
        "across_k": lambda: across_k_cells(tables["across_k"], release.geometry),
    }
    cells: list[Cell] = []
    for index, (part, of_part) in enumerate(parts.items()):
        progress(part, index / len(parts))
        cells += of_part()
    for run in with_progress("summary", release.runs, progress):
        cells += summary_cells(run) if run.summary is not None else ()
        cells += em_rate_cells(run)
    cells += _problem_cells(release.problems)
    shown: dict[str, dict[str, list[TableRow]]] = {
        "dynamics": {"points": dynamics_points(behind)},
        "prior": {"comparisons": [_comparison(comparison) for comparison in comparisons]},
        "em_rate": {"em_rates": [row for cell in cells if cell.part == "em_rate" and (row := _rate(cell)) is not None]},
        "geometry": {
            "claims": [_claim(run) for run in release.geometry],
            "prompts": [row for run in release.geometry for row in _prompts(run)],
        },
    }
    described = {
        part: PaperPart(title, about, present := _present(shown.get(part, {})), tuple(figures_of(part, present)))
        for part, (title, about) in PARTS.items()
    }
    return Reproduction(TITLE, ABOUT, _numbered(cells), described, _counts(release), release.problems)


def _present(tables: dict[str, list[TableRow]]) -> dict[str, list[TableRow]]:
    return {name: rows for name, rows in tables.items() if rows}


def _dynamics_rows(release: Gathered) -> list[Row]:
    rows = []
    for table, row in release.rows("max_diffs"):
        name = next((row[key] for key in ("", "Unnamed: 0", "row", "name") if row.get(key)), "")
        try:
            rows.append(parse(row, name))
        except ValueError as error:
            release.problems.append(Rejected(table.file, 0, str(error)))
    return rows


def _listed(release: Gathered) -> list[str]:
    """File names of the runs that published tables of runs name."""
    names = []
    for _, row in release.rows("runs"):
        try:
            RunName.parsed(row.get("run", ""))
        except ValueError:
            continue
        names.append(row["run"])
    return names


def _problem_cells(problems: Sequence[Rejected]) -> Iterator[Cell]:
    """A cell for each file that could not be read, or not in all its lines."""
    by_file: dict[str, list[Rejected]] = {}
    for problem in problems:
        by_file.setdefault(problem.file, []).append(problem)
    for file, lines in by_file.items():
        whole = [problem for problem in lines if problem.line == 0]
        reason = "a file that cannot be read" if whole else "lines that cannot be read"
        shown = [
            problem.why if problem.line == 0 else f"line {problem.line}: {problem.why}"
            for problem in (whole or lines)[:3]
        ]
        more = f"; {len(lines) - len(shown)} more lines" if not whole and len(lines) > len(shown) else ""
        yield Cell(f"files/{file}", None, None, reason, "; ".join(shown) + more)


def _numbered(cells: list[Cell]) -> list[Cell]:
    """Cells with names of their own: where two tables print the same number twice, the later ones are numbered."""
    times: dict[str, int] = {}
    named = []
    for cell in cells:
        times[cell.name] = time = times.get(cell.name, 0) + 1
        named.append(cell if time == 1 else replace(cell, name=f"{cell.name} ({time})"))
    return named


def _counts(release: Gathered) -> dict[str, int]:
    return {
        "runs": len(release.runs),
        "of them with answers": sum(run.answers is not None for run in release.runs),
        "answers": sum(run.answers.counted.answers for run in release.runs if run.answers is not None),
        "published tables": sum(map(len, release.tables.values())) + len(release.comparisons),
        "geometry files": len(release.geometry),
        "cross-validation files": len(release.cross_validated),
    }


def _comparison(one: Compared) -> dict[str, Any]:
    r = one.found.r
    ends = {"estimate": r.estimate, "low": r.low, "high": r.high, "n": r.n}
    return {
        "run": one.run,
        "set": one.set,
        "metric": one.metric,
        **ends,
        "noise_ceiling": one.ceiling,
        "note": one.note,
    }


def _rate(cell: Cell) -> dict[str, Any] | None:
    if cell.recommended is None:
        return None
    run, _, kind = cell.name.partition("/")[2].rpartition("/")
    ends = {
        "estimate": cell.recommended.estimate,
        "low": cell.recommended.low,
        "high": cell.recommended.high,
        "n": cell.recommended.n,
    }
    return {"run": run, "kind": kind} | ends


def _claim(run: GeometryRun) -> dict[str, Any]:
    found = claim(run)
    ends = {"estimate": None, "low": None, "high": None, "n": 0} if found is None else found.as_row()
    return {"run": run.label.rsplit("/", 4)[0], "layer": run.layer, "pooling": run.pooling, **ends}


def _prompts(run: GeometryRun) -> list[dict[str, Any]]:
    overlap, similarity = (run.columns.get(name) for name in (geometry.OVERLAP, geometry.SIMILARITY))
    if overlap is None or similarity is None:
        return []
    about = {"run": run.label.rsplit("/", 4)[0], "layer": run.layer, "pooling": run.pooling}
    pairs = zip(run.questions, overlap, similarity, strict=True)
    return [about | {"question": name, "overlap": float(x), "shift_similarity": float(y)} for name, x, y in pairs]
