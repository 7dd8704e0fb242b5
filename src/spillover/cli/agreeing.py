"""`spillover agree`: how far judges agree on the same answers, as a table and as a page. Knows no statistic."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spillover.cli.running import make_study
from spillover.cli.scored_sets import scored_sets
from spillover.interactive.text import plain
from spillover.store import Artefact, Store


def agree(words: Sequence[str], root: Path, out: Path | None) -> None:
    """Compare the judges of some sets of judged answers; print a table, or write a page with everything."""
    from spillover.analyses.agreement import Agreement
    from spillover.report.report import Report

    if len(words) < 2:
        raise ValueError("agreement needs two sets of judged answers at least: two judges, the same answers")
    with opened(root) as store:
        analysis = Agreement(judgements=tuple(scored_sets(words, store)))
        _print(analysis.read_result(made(analysis, store)).tables)
        if out is not None:
            judges = " and ".join(dict.fromkeys(one.judge_name for one in analysis.judgements))
            about = f"How far {judges} agree on the same answers."
            make_study(Report(title="Agreement of judges", about=about, analyses=(analysis,)), store.root, out, False)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Store]:
    """The store at `root`; one for this command alone where there is none yet: files need none to stay."""
    if root.expanduser().exists():
        yield Store.open(root)
        return
    with tempfile.TemporaryDirectory(prefix="spillover-") as folder:
        yield Store.open(folder)


def made(artefact: Artefact, store: Store) -> Path:
    """The artefact's folder; made where it is not there, while stderr shows how far it is."""
    from spillover.engines.local import run
    from spillover.interactive.progress import shown

    with shown() as listener:
        return run(artefact, store, listener)


def lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells as lines with columns below one another."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _print(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """All answers and each format; categories and questions stand on the page."""
    from spillover.analyses.blocks import interval_text

    pairs = dict.fromkeys((row["first"], row["second"]) for row in tables["agreement"])
    for first, second in pairs:
        print(plain(f"{second} against {first}"))
        cells = [("answers", "of", "metric", "measure", "estimate [95%]", "n")]
        for row in tables["agreement"]:
            if (row["first"], row["second"]) == (first, second) and row["kind"] != "category":
                value = interval_text(row, "r").replace("\u00a0", " ")
                cells.append((_scope(row), row["of"], row["metric"], row["statistic"], value, f"{row['n']:,}"))
        for row in tables["bias"]:
            if (row["first"], row["second"]) == (first, second) and row["kind"] != "category":
                value = interval_text(row, "points").replace("\u00a0", " ")
                cells.append((_scope(row), "question means", row["metric"], "bias, points", value, f"{row['n']:,}"))
        print(plain("\n".join(lines(cells))))
    for row in tables["counts"]:
        why = f"; not: {row['why']}" if row["missing"] else ""
        print(plain(f"{row['judge']}, {row['metric']}: {row['scored']} of {row['answers']} answers scored{why}"))


def _scope(row: Mapping[str, Any]) -> str:
    return "all" if row["kind"] == "all" else f"{row['kind']} {row['scope']}"
