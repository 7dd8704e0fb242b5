"""`spillover judge`: scores for the answers in a user's own file, written beside them in the same order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from spillover.judgements.judge import Answer, Batch, Judge, PhasedScore, Score
from spillover.judgements.judgements import ScoreTally, complete_scores
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.judgements.tables.judged_columns import JUDGES, OUR_OWN, SPREAD
from spillover.judgements.tables.row_reader import BATCH, FileCells, Layout, ending, layout_of, sound_rows
from spillover.judgements.tables.row_writer import writing
from spillover.regular_files import expect_regular
from spillover.store import ProgressFn, Store

MISSING = "missing"
SUBJECT = "model"  # a column that says who answered, if there is one: a two-phase judge draws its sample model by model
PHASES = (CHEAP, DEAR)
PROMPT = "prompt"  # where a table of answers has the text that was asked; its `question` is the question's name
ANSWER_TABLE = ("question_id", "sample", "model_id", PROMPT, "answer")  # columns that tell such a table
_ID = re.compile(r"(?=.*[_\d])[A-Za-z0-9_.:/#-]+")


def score_file(
    source: Path,
    out: Path,
    judge: Judge,
    progress: ProgressFn = lambda share: None,
    store: Store | None = None,
    columns: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `source` with a column for each metric and its spread, `missing`, `judge` and `rubric`.

    `METRIC_spread` is the judge's own standard deviation of the score, points, empty where it gives none; `missing` the
    reason where there is no score; `judge` and `rubric` say who scored, by what, in which version. A two-phase judge
    adds `METRIC_cheap`, `METRIC_dear`, `inclusion` (the probability of being drawn) and `drawn` (1 or 0).
    Rows keep their order and other columns their values. A column that already has one of these names is kept as
    `<name>_given`. CSV, JSON lines (both also .gz) and parquet, each into any other; returns facts. ValueError with the
    line of a row that is malformed: then nothing is written.
    A judge that is paid keeps in the store what it said: a second call goes on from there.
    columns: which column is `question` or `answer` where it is called otherwise: `question=frage`. In our own
    tables of answers the question's text stands in `prompt`; a column of ids is refused.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_paths(source, out)
    layout, read = _layout(source, columns)
    numbers = [name for metric in judge.metrics for name in (metric, metric + SPREAD)]
    numbers += [metric + phase for metric in judge.metrics for phase in PHASES] if judge.two_phase else []
    numbers += [INCLUSION, DRAWN] if judge.two_phase else []
    renamed = _renamed(layout, [*numbers, MISSING, *JUDGES])
    written = {renamed.get(name, name): type for name, type in layout.columns.items()}
    written |= dict.fromkeys(numbers, pa.float64()) | dict.fromkeys((MISSING, *JUDGES), pa.string())
    # parquet's own metadata, less pandas' list of columns, which would be wrong now
    metadata = {key: value for key, value in (layout.metadata or {}).items() if key != b"pandas"}
    tally = ScoreTally(judge)
    with judge.at_work(store) as scoring, writing(out, Layout(written, layout.rows, metadata)) as write:
        for rows in _batches(source, judge):
            done, share = tally.answers / layout.rows, len(rows) / layout.rows
            answers = _answers(rows, read)
            scores = scoring.score(answers, lambda part: progress(done + share * part))  # noqa: B023
            complete_scores(judge, scores, len(answers))
            write([_with_scores(row, renamed, of_row, judge) for row, of_row in zip(rows, scores, strict=True)])
            tally.add(scores)
            progress(tally.answers / layout.rows)
        facts = scoring.facts()
    return tally.facts() | facts | {"out": str(out), "renamed": renamed, "read": read}


def estimate_score_file(
    source: Path, out: Path, judge: Judge, store: Store | None = None, columns: Sequence[str] = ()
) -> str | None:
    """What `score_file` would take, for people; None for a judge that costs nothing."""
    source, out = Path(source).expanduser(), Path(out).expanduser()
    _check_paths(source, out)

    def batches() -> Iterator[Batch]:
        _, read = _layout(source, columns)
        for rows in _batches(source, judge):
            answers = _answers(rows, read)
            for subject in dict.fromkeys(answer.subject for answer in answers):
                yield Batch([answer for answer in answers if answer.subject == subject])

    return judge.estimate(batches(), store)


def _batches(source: Path, judge: Judge) -> Iterator[list[FileCells]]:
    rows = sound_rows(source)
    while batch := list(islice(rows, None if judge.two_phase else BATCH)):
        yield batch


def _answers(rows: Sequence[FileCells], read: Mapping[str, str]) -> list[Answer]:
    """read: which column is the question, and which the answer."""
    questions = [row.get(read["question"]) for row in rows]
    subjects = [row.get(SUBJECT) for row in rows]
    return [
        Answer(question if isinstance(question, str) else "", row.get(read["answer"]), str(subject or ""))
        for question, subject, row in zip(questions, subjects, rows, strict=True)
    ]


def _with_scores(row: FileCells, renamed: Mapping[str, str], scores: Sequence[Score], judge: Judge) -> FileCells:
    cells = {renamed.get(name, name): cell for name, cell in row.items()}
    for score in scores:
        cells |= {score.metric: score.score, score.metric + SPREAD: score.spread}
        if isinstance(score, PhasedScore):
            cells |= {score.metric + PHASES[0]: score.cheap, score.metric + PHASES[1]: score.dear}
            cells |= {INCLUSION: score.inclusion, DRAWN: None if score.drawn is None else float(score.drawn)}
    reason = next((score.missing for score in scores if score.missing is not None), None)
    return cells | {MISSING: reason, "judge": judge.name, "rubric": judge.rubric}


def _check_paths(source: Path, out: Path) -> None:
    expect_regular(source)
    if not source.is_file():
        raise ValueError(f"no file {source}: give a CSV, JSON lines or parquet file with question and answer")
    ending(source), ending(out)
    if out.exists() and out.samefile(source):
        raise ValueError(f"{out} is the file that is read: name another with --out")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file with --out")
    if not out.parent.is_dir():
        raise ValueError(f"the folder {out.parent} of {out.name} does not exist: make it first")


def _layout(source: Path, columns: Sequence[str]) -> tuple[Layout, dict[str, str]]:
    """What the file holds, and which column is the question, which the answer.

    ValueError where it has no rows, lacks a column, or has ids where questions are expected.
    """
    layout, mapped = layout_of(source), _mapped(columns)
    if not layout.rows:
        raise ValueError(f"{source} has no rows: nothing to judge")
    read = {name: mapped.get(name, name) for name in OUR_OWN}
    if "question" not in mapped and set(ANSWER_TABLE) <= set(layout.columns):
        read["question"] = PROMPT
    lacking = [name for name in read.values() if name not in layout.columns]
    if lacking:
        others = {column.lower().strip(): column for column in layout.columns if column not in OUR_OWN}
        near = [others[word] for name in lacking for word in difflib.get_close_matches(name, others, n=1, cutoff=0.7)]
        hint = f"; rename {', '.join(near)}?" if near else ""
        raise ValueError(
            f"{source} lacks the column{'s' * (len(lacking) > 1)} {' and '.join(lacking)}; "
            f"it has {', '.join(layout.columns) or 'none'}{hint}; say which is which: --columns question=...,answer=..."
        )
    if "question" not in mapped and read["question"] == "question" and _are_ids(source):
        if PROMPT not in layout.columns:
            raise ValueError(
                f"{source}: the column question holds ids, not questions, and a judge has to read what was asked: put "
                f"the texts into a column and name it, --columns question=COLUMN (question=question if these are texts)"
            )
        read["question"] = PROMPT
    return layout, read


def _mapped(columns: Sequence[str]) -> dict[str, str]:
    """The file's columns by our names, from `question=frage`."""
    mapped: dict[str, str] = {}
    for text in columns:
        ours, equals, theirs = (part.strip() for part in text.partition("="))
        if not (equals and theirs) or ours not in OUR_OWN or ours in mapped:
            raise ValueError(f"columns are written question=THEIRS and answer=THEIRS, each once, got {text!r}")
        mapped[ours] = theirs
    return mapped


def _are_ids(source: Path) -> bool:
    """Whether what stands under `question` are names of questions, in nine of ten rows of the first thousands."""
    cells = [row.get("question") for row in islice(sound_rows(source), BATCH)]
    named = sum(isinstance(cell, str) and _ID.fullmatch(cell.strip()) is not None for cell in cells)
    return named >= 0.9 * len(cells)


def _renamed(layout: Layout, added: Sequence[str]) -> dict[str, str]:
    renamed = {name: f"{name}_given" for name in added if name in layout.columns}
    while clash := [name for name in renamed.values() if name in layout.columns or name in added]:
        renamed = {name: new + "_given" if new in clash else new for name, new in renamed.items()}
    return renamed
