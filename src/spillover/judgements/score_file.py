"""Scores for the answers in a user's own file. Knows rows with a question and an answer; knows no judge by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.judgements.judge import Answer, Batch, Judge, Score
from spillover.judgements.judgements import ScoreTally, checked
from spillover.judgements.tables.row_files import Layout, Row, ending, in_pieces, rows, survey, writing
from spillover.store import ProgressFn, Store

NEEDED = ("question", "answer")
MISSING, JUDGE, RUBRIC = "missing", "judge", "rubric"


def score_file(
    source: Path, out: Path, judge: Judge, progress: ProgressFn = lambda share: None, store: Store | None = None
) -> dict[str, Any]:
    """Write `source` with a column for each metric and its spread, `missing`, `judge` and `rubric`.

    `METRIC_spread` is the judge's own standard deviation of the score, points, empty where it gives none; `missing` the
    reason where there is no score; `judge` and `rubric` say who scored, by what, in which version.
    Rows keep their order and other columns their values. A column that already has one of these names is kept as
    `<name>_given`. CSV, JSON lines (both also .gz) and parquet, each into any other; returns facts.
    A judge that is paid keeps in the store what it said: a second call goes on from there.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    layout = _checked(source, out)
    added = (*(name for metric in judge.metrics for name in (metric, _spread(metric))), MISSING, JUDGE, RUBRIC)
    renamed = _renamed(layout, added)
    columns = {renamed.get(name, name): type for name, type in layout.columns.items()}
    columns |= {name: pa.string() if name in (MISSING, JUDGE, RUBRIC) else pa.float64() for name in added}
    by = {JUDGE: judge.name, RUBRIC: judge.rubric}
    tally = ScoreTally(judge)
    with judge.at_work(store) as scoring, writing(out, Layout(columns, layout.rows, _metadata(layout))) as write:
        for piece in in_pieces(rows(source)):
            done, share = tally.answers / layout.rows, len(piece) / layout.rows
            answers = _answers(piece)
            scores = checked(judge, scoring.score(answers, lambda part: progress(done + share * part)), len(answers))  # noqa: B023
            write([_with_scores(row, renamed, of_answer) | by for row, of_answer in zip(piece, scores, strict=True)])
            tally.add(scores)
            progress(tally.answers / layout.rows)
        facts = scoring.facts()
    return tally.facts() | facts | {"out": str(out), "renamed": renamed}


def estimate_score_file(source: Path, out: Path, judge: Judge, store: Store | None = None) -> str | None:
    """What `score_file` would take, for people; None for a judge that costs nothing."""
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_paths(source, out)
    return judge.estimate(_lots(source), store)


def _lots(source: Path) -> Iterator[Batch]:
    _check_columns(source, survey(source))
    for piece in in_pieces(rows(source)):
        yield Batch(_answers(piece))


def _answers(piece: Sequence[Row]) -> list[Answer]:
    return [Answer(_text(row.get("question")), row.get("answer")) for row in piece]


def _checked(source: Path, out: Path) -> Layout:
    _check_paths(source, out)
    layout = survey(source)
    _check_columns(source, layout)
    return layout


def _with_scores(row: Row, renamed: dict[str, str], scores: Sequence[Score]) -> Row:
    given = {renamed.get(name, name): value for name, value in row.items()}
    reason = next((score.missing for score in scores if score.missing is not None), None)
    found = {
        name: value for one in scores for name, value in ((one.metric, one.score), (_spread(one.metric), one.spread))
    }
    return given | found | {MISSING: reason}


def _spread(metric: str) -> str:
    return f"{metric}_spread"


def _check_paths(source: Path, out: Path) -> None:
    if not source.is_file():
        raise ValueError(f"no file {source}: give a CSV, JSON lines or parquet file with question and answer")
    ending(source), ending(out)
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the file that is read: name another with --out")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file with --out")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} of {out.name} does not exist: make it first")


def _check_columns(source: Path, layout: Layout) -> None:
    lacking = [name for name in NEEDED if name not in layout.columns]
    if not layout.rows:
        raise ValueError(f"{source} has no rows: nothing to judge")
    if lacking:
        near = list(chain.from_iterable(_near(name, layout) for name in lacking))
        hint = f"; rename {', '.join(near)}?" if near else ""
        raise ValueError(
            f"{source} lacks the column{'s' * (len(lacking) > 1)} {' and '.join(lacking)}; "
            f"it has {', '.join(layout.columns) or 'none'}{hint}"
        )


def _near(name: str, layout: Layout) -> list[str]:
    others = {column.lower().strip(): column for column in layout.columns if column not in NEEDED}
    return [others[near] for near in difflib.get_close_matches(name, others, n=1, cutoff=0.7)]


def _renamed(layout: Layout, added: Sequence[str]) -> dict[str, str]:
    renamed = {name: f"{name}_given" for name in added if name in layout.columns}
    while clash := [name for name in renamed.values() if name in layout.columns or name in added]:
        renamed = {name: new + "_given" if new in clash else new for name, new in renamed.items()}
    return renamed


def _metadata(layout: Layout) -> dict[bytes, bytes]:
    """Parquet's own metadata, less pandas' list of columns, which would be wrong now."""
    return {key: value for key, value in (layout.metadata or {}).items() if key != b"pandas"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
