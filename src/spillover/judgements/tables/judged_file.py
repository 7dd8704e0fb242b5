"""Scores in a user's own file, as `spillover judge` writes it: answers that analyses can take. Knows no judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from spillover.judgements.judge import METRICS
from spillover.judgements.score_columns import COLUMNS, NUMBERS
from spillover.judgements.scored_answers import Condition, ScoreColumns, ScoredAnswers
from spillover.judgements.tables.row_files import rows, survey
from spillover.records import read_table, table, write_table
from spillover.spec import location_field
from spillover.store import BuildContext, Cost, Store, file_sha256

ANSWERS = "answers.parquet"
KNOWN = (*METRICS, "refusal")
NOT_SCORED = "not scored in the file"
NOT_SAID = "not said in the file"


class JudgedFile(ScoredAnswers):
    """Judged answers in a file, known by the SHA-256 of its bytes."""

    judge: str  # who scored, as whoever gives the file says
    sha256: str
    scored: tuple[str, ...] = Field(min_length=1)
    rubric: str = NOT_SAID
    path: str = location_field()

    @classmethod
    def from_file(cls, path: Path | str, judge: str = "") -> Self:
        """The file at `path`, as it is now. Who judged: as given, else as a column of it says, else its own name."""
        found = Path(path).expanduser().resolve()
        if not found.is_file():
            raise ValueError(f"no file {path}: give a fingerprint, or a file that `spillover judge` wrote")
        columns = survey(found).columns
        lacking = [name for name in ("question", "answer") if name not in columns]
        scored = tuple(name for name in KNOWN if name in columns)
        if lacking or not scored:
            raise ValueError(
                f"{path} has no column {' and no '.join(lacking) or ', '.join(KNOWN)}: expected question, answer and "
                f"scores, as `spillover judge` writes them"
            )
        said = _judges(found) if {"judge", "rubric"} & set(columns) else {("", "")}
        if len(said) > 1:
            names = " and ".join(sorted(f"{one} ({rubric or NOT_SAID})" for one, rubric in said)[:2])
            raise ValueError(f"{path} holds scores of unlike judges, {names}: put each into a file of its own")
        ((by, rubric),) = said
        judge = judge or by or found.name
        return cls(judge=judge, sha256=file_sha256(found), scored=scored, rubric=rubric or NOT_SAID, path=str(found))

    @property
    def subject(self) -> str:
        return f"the answers of {Path(self.path).name}"

    @property
    def judge_name(self) -> str:
        return self.judge

    @property
    def rubric_name(self) -> str:
        return self.rubric

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.scored

    def judge_card(self) -> str:
        return f"Scores read from {Path(self.path).name}; rubric: {self.rubric}."

    def conditions(self) -> Mapping[str, Condition]:
        unknown = Condition(None, lambda: "not known")
        return {"judge": Condition(self.judge, lambda: self.judge), "questions": unknown} | {
            "sampling": unknown,
            "prompting": unknown,
        }

    def summary(self) -> str:
        return f"Scores of {self.judge} in {Path(self.path).name}"

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=0.2)

    def columns(self, store: Store) -> ScoreColumns:
        return read_columns(store.path(self) / ANSWERS, self.metrics)

    def make(self, context: BuildContext) -> dict[str, Any]:
        path = Path(self.path)
        if not path.is_file() or file_sha256(path) != self.sha256:
            raise ValueError(f"{path} is not there any more, or not the file it was when it was named: name it anew")
        found = [_row(path, number, row, self.scored) for number, row in enumerate(rows(path), start=1)]
        _number_samples(found)
        write_columns(found, self.scored, context.folder / ANSWERS)
        return {"answers": len(found)}


def write_columns(found: Sequence[Mapping[str, Any]], metrics: Sequence[str], path: Path) -> None:
    """Judged answers, one row each, with all columns that `judged` describes."""
    kinds = {name: pa.float64() if name in (*NUMBERS, *metrics) else pa.string() for name in (*COLUMNS, *metrics)}
    schema = pa.schema([*kinds.items(), ("missing", pa.string())])
    write_table(table(({name: row.get(name) for name in schema.names} for row in found), schema), path, schema)


def read_columns(path: Path, metrics: Sequence[str]) -> ScoreColumns:
    """What `write_columns` wrote, as arrays."""
    content = read_table(path)
    found: ScoreColumns = {}
    for name in (*COLUMNS, *metrics, "missing"):
        values = content[name].to_pylist()
        found[name] = np.array(values, dtype=float if name in (*NUMBERS, *metrics) else object)
    return found


def score_in(cell: Any, what: str) -> float | None:
    """A score from a cell: a number from 0 to 100, or nothing; else a ValueError that names the cell by `what`."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = float("nan")
    if not 0 <= value <= 100:
        raise ValueError(f"{what}: a score is a number from 0 to 100, or nothing; got {str(cell)!r:.60}")
    return value


def _judges(path: Path) -> set[tuple[str, str]]:
    """Who scored by which rubric, as the rows say."""
    return {(str(row.get("judge") or ""), str(row.get("rubric") or "")) for row in rows(path)}


def _row(path: Path, number: int, row: Mapping[str, Any], scored: Sequence[str]) -> dict[str, Any]:
    question = str(row.get("question") or "")
    name = str(row.get("question_id") or question)
    scores = {metric: score_in(row.get(metric), f"{path.name}, row {number}, {metric}") for metric in scored}
    lacks = any(value is None for value in scores.values())
    sample = row.get("sample")
    return scores | {
        **{"question_id": name, "question": question, "family": str(row.get("family") or question)},
        **{"category": str(row.get("category") or "not said"), "format": str(row.get("format") or "not said")},
        **{"prompt": question, "answer": row.get("answer"), "finish_reason": None, "tokens": None},
        "sample": float(sample) if sample not in (None, "") else None,
        "missing": (str(row.get("missing") or "") or NOT_SCORED) if lacks else None,
    }


def _number_samples(found: Sequence[dict[str, Any]]) -> None:
    """Where the file does not number a question's answers, they are numbered in its order."""
    counted: Counter[str] = Counter()
    for row in found:
        if row["sample"] is None:
            row["sample"] = float(counted[row["question_id"]])
        counted[row["question_id"]] += 1
