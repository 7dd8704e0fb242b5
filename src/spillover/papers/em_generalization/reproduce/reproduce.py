"""The whole reproduction: a folder of the release in, every published number beside ours out. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spillover.judgements.tables.row_reader import Rejected
from spillover.papers.em_generalization.names import RunName
from spillover.papers.em_generalization.reproduce import geometry
from spillover.papers.em_generalization.reproduce.across_k import across_k_cells
from spillover.papers.em_generalization.reproduce.cells import Cell
from spillover.papers.em_generalization.reproduce.dynamics import dynamics_cells, dynamics_points, looked_up
from spillover.papers.em_generalization.reproduce.dynamics_rows import Row, parse
from spillover.papers.em_generalization.reproduce.em_rates import em_rate_cells
from spillover.papers.em_generalization.reproduce.gather import Gathered, ProgressFn, gather
from spillover.papers.em_generalization.reproduce.geometry import GeometryRun, claim, geometry_cells
from spillover.papers.em_generalization.reproduce.prediction import prediction_cells
from spillover.papers.em_generalization.reproduce.prior import Compared, prior_cells
from spillover.papers.em_generalization.reproduce.rates import rates_cells
from spillover.papers.em_generalization.reproduce.run_table import run_table_cells
from spillover.papers.em_generalization.reproduce.summary import summary_cells

FILES = "files"
Rows = list[dict[str, Any]]


@dataclass
class Reproduction:
    """Cells in the order of the parts; tables to draw from, by name; what was read, in words; what could not be."""

    cells: list[Cell] = field(default_factory=list)
    tables: dict[str, Rows] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    problems: list[Rejected] = field(default_factory=list)


def reproduce(path: Path, progress: ProgressFn = lambda what, share: None) -> Reproduction:
    """Compare every published number that the files below `path` hold; ValueError where they are no release."""
    found = gather(path, progress)
    done = Reproduction(read=_read(found), problems=found.problems)
    rows, listed = _dynamics_rows(found, done), _listed(found)
    made: list[Compared] = []
    behind = looked_up(rows, found.runs, listed)

    def priors() -> Iterator[Cell]:
        for _, published in found.comparisons:
            cells, compared = prior_cells(published, found.priors, found.runs)
            made.extend(compared)
            yield from cells

    parts: dict[str, Callable[[], Iterator[Cell]]] = {
        "dynamics": lambda: dynamics_cells(behind),
        "runs": lambda: run_table_cells([row for _, row in found.rows("runs")], found.runs),
        "prior": priors,
        "rates": lambda: rates_cells([row for _, row in found.rows("rates")], made),
        "prediction": lambda: prediction_cells(found.cross_validated),
        "geometry": lambda: geometry_cells(found.geometry),
        "across_k": lambda: across_k_cells([row for _, row in found.rows("across_k")], found.geometry),
    }
    for at, (part, cells) in enumerate(parts.items()):
        progress(part, at / len(parts))
        done.cells += cells()
    for at, run in enumerate(found.runs):
        progress("summary", at / len(found.runs))
        done.cells += summary_cells(run) if run.summary is not None else ()
        done.cells += em_rate_cells(run)
    done.cells += [_problem(name, lines) for name, lines in _by_file(done.problems).items()]
    done.cells = _named_once(done.cells)
    done.tables = {
        "points": dynamics_points(behind),
        "comparisons": [_comparison(one) for one in made],
        "em_rates": [row for cell in done.cells if cell.part == "em_rate" and (row := _rate(cell)) is not None],
        "claims": [_claim(run) for run in found.geometry],
        "prompts": [row for run in found.geometry for row in _prompts(run)],
    }
    return done


def _dynamics_rows(found: Gathered, done: Reproduction) -> list[Row]:
    rows = []
    for table, row in found.rows("max_diffs"):
        name = next((row[key] for key in ("", "Unnamed: 0", "row", "name") if row.get(key)), "")
        try:
            rows.append(parse(row, name))
        except ValueError as error:
            done.problems.append(Rejected(table.file, 0, str(error)))
    return rows


def _listed(found: Gathered) -> list[str]:
    """Stems of the runs that published tables of runs name."""
    stems = []
    for _, row in found.rows("runs"):
        try:
            RunName.parsed(row.get("run", ""))
        except ValueError:
            continue
        stems.append(row["run"])
    return stems


def _by_file(problems: list[Rejected]) -> dict[str, list[Rejected]]:
    found: dict[str, list[Rejected]] = {}
    for one in problems:
        found.setdefault(one.file, []).append(one)
    return found


def _problem(name: str, lines: list[Rejected]) -> Cell:
    """A file, or lines of it, that could not be read, as a cell of its own."""
    whole = [one for one in lines if one.line == 0]
    reason = "a file that cannot be read" if whole else "lines that cannot be read"
    shown = [one.why if one.line == 0 else f"line {one.line}: {one.why}" for one in (whole or lines)[:3]]
    more = f"; {len(lines) - len(shown)} more lines" if not whole and len(lines) > len(shown) else ""
    return Cell(FILES, f"{FILES}/{name}", None, None, reason, "; ".join(shown) + more)


def _named_once(cells: list[Cell]) -> list[Cell]:
    """Cells with names of their own: where two tables print the same number twice, the later ones are numbered."""
    seen: dict[str, int] = {}
    named = []
    for cell in cells:
        seen[cell.cell] = seen.get(cell.cell, 0) + 1
        named.append(cell if seen[cell.cell] == 1 else cell.renamed(f"{cell.cell} ({seen[cell.cell]})"))
    return named


def _read(found: Gathered) -> dict[str, int]:
    return {
        "runs": len(found.runs),
        "of them with answers": sum(run.answers is not None for run in found.runs),
        "answers": sum(run.answers.counted.answers for run in found.runs if run.answers is not None),
        "published tables": sum(map(len, found.tables.values())) + len(found.comparisons),
        "geometry files": len(found.geometry),
        "cross-validation files": len(found.cross_validated),
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
    if cell.beside is None:
        return None
    run, _, kind = cell.cell.partition("/")[2].rpartition("/")
    ends = {"estimate": cell.beside.estimate, "low": cell.beside.low, "high": cell.beside.high, "n": cell.beside.n}
    return {"run": run, "kind": kind} | ends


def _claim(run: GeometryRun) -> dict[str, Any]:
    found = claim(run)
    ends = {"estimate": None, "low": None, "high": None, "n": 0} if found is None else found.as_row()
    return {"run": run.label.rsplit("/", 4)[0], "layer": run.layer, "pooling": run.pooling, **ends}


def _prompts(run: GeometryRun) -> Rows:
    overlap, similarity = (run.columns.get(name) for name in (geometry.OVERLAP, geometry.SIMILARITY))
    if overlap is None or similarity is None:
        return []
    about = {"run": run.label.rsplit("/", 4)[0], "layer": run.layer, "pooling": run.pooling}
    pairs = zip(run.questions, overlap, similarity, strict=True)
    return [about | {"question": name, "overlap": float(x), "shift_similarity": float(y)} for name, x, y in pairs]
