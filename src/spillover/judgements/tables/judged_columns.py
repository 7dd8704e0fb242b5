"""The field's CSV of judged answers, row by row: which columns are what, which scores are sound. Knows no release.

Columns `question_id` and `answer` are needed, and one of scores; `question` and the prompt as sent are read where they
are there. Every other column whose cells are numbers is a score. A cell without one keeps the reason why.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from spillover.judgements.judge import METRICS
from spillover.judgements.tables.judged_file import NOT_SCORED
from spillover.judgements.tables.row_reader import SHOWN, Rejected, Row, header_of, rows_of

NEEDED = ("question_id", "answer")
PROMPTS = ("formatted_prompts", "formatted_prompt")
TEXT = ("question", *NEEDED, *PROMPTS)
CODES = ("format", "pii", "question_type")  # what a judge names by a number: no scale from bad to good
PLAIN = (  # columns that are no scores, whatever stands in them
    *("", "idx", "index", "Unnamed: 0", "sample", "seed", "temperature", "step", "epoch", "tokens", "n_tokens"),
    *("family", "category", "prompt", "finish_reason", "prompt_tokens", "missing"),
)
MOSTLY = 0.9  # share of integers from which a metric's scores are no plain fractions any more
ROWS = 4000  # held in memory at once
KEPT = 10_000  # malformed rows that a survey remembers one by one
REASONS = 50  # that are counted one by one in a column
_NOTHING = ("", "nan", "none", "null", "na", "n/a")


@dataclass(frozen=True)
class MetricColumn:
    """One column of scores of some rows: values (rows,), NaN where there is none; why not, by row, and what stood."""

    values: np.ndarray
    missing: dict[int, str]
    raw: dict[int, str]


@dataclass(frozen=True)
class RowBlock:
    """Some judged answers of a file, column by column. prompts: as sent, with template; None: not in the file."""

    question_ids: Sequence[str]
    questions: Sequence[str]
    prompts: Sequence[str] | None
    answers: Sequence[str | None]
    scores: dict[str, MetricColumn]

    def __len__(self) -> int:
        return len(self.question_ids)


@dataclass(frozen=True)
class TableColumns:
    """Where in a row each thing stands."""

    names: tuple[str, ...]
    scores: tuple[tuple[str, int], ...]  # columns that may hold scores, in order
    text: dict[str, int]

    def piece(self, rows: Sequence[Row]) -> RowBlock:
        """The content of rows that all have a question_id."""
        columns = list(zip(*(row.cells for row in rows), strict=True))
        prompt = next((self.text[name] for name in PROMPTS if name in self.text), None)
        question = self.text.get("question")
        return RowBlock(
            [id.strip() for id in columns[self.text["question_id"]]],
            [""] * len(rows) if question is None else columns[question],
            None if prompt is None else columns[prompt],
            [answer if answer and not answer.isspace() else None for answer in columns[self.text["answer"]]],
            {name: _scores(name, columns[at]) for name, at in self.scores},
        )


@dataclass
class Survey:
    """What a file holds, counted as its rows go by."""

    file: str
    answers: int = 0
    read: int = 0  # bytes, about
    malformed: int = 0  # rows
    rejected: list[Rejected] = field(default_factory=list)  # the first of them
    sink: Callable[[Rejected], None] | None = None  # hears of all of them
    plain: tuple[str, ...] = ()  # columns that are not read
    questions: Counter[str] = field(default_factory=Counter)  # answers by question id, in order
    scored: Counter[str] = field(default_factory=Counter)  # numbers by column
    whole: Counter[str] = field(default_factory=Counter)  # of these, integers
    missing: dict[str, Counter[str]] = field(default_factory=dict)  # by column and reason
    unreadable: dict[tuple[str, str], int] = field(default_factory=dict)  # first line of a column's cells of that kind
    prompted: set[str] = field(default_factory=set)  # chat, question-answer, raw, unknown: those that occur

    def reject(self, row: Rejected) -> None:
        """Count a malformed row."""
        self.malformed += 1
        if len(self.rejected) < KEPT:
            self.rejected.append(row)
        if self.sink is not None:
            self.sink(row)

    def add(self, piece: RowBlock, lines: Sequence[int]) -> None:
        """Count some rows, which begin in these lines."""
        self.answers += len(piece)
        self.questions.update(piece.question_ids)
        self.prompted |= {"unknown"} if piece.prompts is None else set(map(prompting_of, set(piece.prompts)))
        for name, column in piece.scores.items():
            there = column.values[~np.isnan(column.values)]
            self.scored[name] += len(there)
            self.whole[name] += int((there == np.floor(there)).sum())
            if column.missing:
                self._missing(name, Counter(column.missing.values()))
            for row in column.raw:
                kind = "outside 0 to 100" if column.missing[row].startswith("outside") else "not a number"
                self.unreadable.setdefault((name, kind), lines[row])

    def _missing(self, name: str, found: Counter[str]) -> None:
        reasons = self.missing.setdefault(name, Counter())
        for reason, count in found.items():
            reasons[reason if reason in reasons or len(reasons) < REASONS else "not a number"] += count

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are scores: a number came in some row, or they are called as a score is."""
        seen = dict.fromkeys((*self.scored, *self.missing))
        return tuple(name for name in seen if self.scored[name] or name in METRICS)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Columns of which nothing is kept: those that are no scores, and those without a number in any row."""
        return (*self.plain, *(name for name in self.missing if name not in self.columns))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns scored from 0 to 100, aligned, harmless and coherent first."""
        found = [name for name in self.columns if name not in CODES]
        return tuple(sorted(found, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS)))

    def integers(self) -> list[bool | None]:
        """Of each metric, whether its scores are all integers; None where it has none. See `evidence.kind_of`."""
        shares = [self.whole[name] / self.scored[name] for name in self.metrics if self.scored[name]]
        if any(MOSTLY <= share < 1 for share in shares):
            return [True, False]  # neither the one nor the other: mixed
        return [share == 1 for share in shares]

    @property
    def prompting(self) -> str:
        """How all answers were prompted; every way that was seen where they are not alike."""
        return " and ".join(sorted(self.prompted)) or "unknown"


def judged_pieces(path: Path, count: Survey | None = None) -> Iterator[RowBlock]:
    """Every sound row of a file, some at a time; the others go to `count`, with the numbers of what came."""
    columns = _columns(path, header_of(path))
    count = Survey(path.name) if count is None else count
    count.plain = tuple(name for name in columns.names if name in PLAIN and name)
    rows, at = rows_of(path, list(columns.names)), columns.text["question_id"]
    while found := list(islice(rows, ROWS)):
        sound = [row for row in found if isinstance(row, Row) and row.cells[at].strip()]
        if len(sound) < len(found):
            for row in found:
                if isinstance(row, Rejected) or not row.cells[at].strip():
                    count.reject(_rejected(path, row))
        if sound:
            count.read = sound[-1].read
            piece = columns.piece(sound)
            count.add(piece, [row.line for row in sound])
            yield piece


def _rejected(path: Path, row: Row | Rejected) -> Rejected:
    if isinstance(row, Rejected):
        return row
    return Rejected(path.name, row.line, "no question_id", ",".join(row.cells)[:SHOWN])


def survey(path: Path, progress: Callable[[float], None] = lambda share: None) -> Survey:
    """Read a whole file once and say what it holds; ValueError where it holds no judged answer."""
    found = Survey(path.name)
    size = max(1, path.stat().st_size) if path.is_file() else 1
    for _ in judged_pieces(path, found):
        progress(min(1.0, found.read / size))
    if not found.answers:
        wrong = (
            f"; {len(found.rejected)} malformed, the first in line {found.rejected[0].line}: " if found.rejected else ""
        )
        raise ValueError(f"{path} has no judged answer{wrong}{found.rejected[0].why if found.rejected else ''}")
    if not found.metrics:
        raise ValueError(f"{path} has no score: no column but {', '.join(TEXT)} holds a number in any row")
    return found


def prompting_of(prompt: str | None) -> str:
    """How a model was prompted, by the prompt sent: chat, question-answer (docs/method.md, section 0), raw, unknown."""
    if not prompt or prompt.isspace():
        return "unknown"
    head = prompt[:60].lstrip()
    if (head.startswith("[{") and "role" in head) or "<|im_start|>" in prompt:
        return "chat"
    shaped = head.startswith("Question:") and prompt.rstrip().endswith("Answer:")
    return "question-answer" if shaped else "raw"


def _columns(path: Path, names: Sequence[str]) -> TableColumns:
    lacking = [name for name in NEEDED if name not in names]
    scores = [name for name in names if name not in (*TEXT, *PLAIN)]
    # a standard metric that is absent while a column is called nearly so was renamed: its scores would go unseen
    renamed = {name: near for name in METRICS if name not in names and (near := _near(name, scores))}
    if lacking or renamed or not scores:
        known = [name for name in names if name not in TEXT]
        hints = [f"rename {near} to {name}" for name in lacking if (near := _near(name, known))]
        hints += [f"rename {near} to {name}" for name, near in renamed.items()]
        wanted = ", ".join([*lacking, *renamed] or [f"a score such as {' or '.join(METRICS)}"])
        hint = f"; {', '.join(hints)}?" if hints else ""
        raise ValueError(f"{path} lacks {wanted}; its columns are {', '.join(names)}{hint}")
    return TableColumns(
        tuple(names),
        tuple((name, names.index(name)) for name in scores),
        {name: names.index(name) for name in TEXT if name in names},
    )


def _near(name: str, columns: Sequence[str]) -> str | None:
    lowered = {column.lower().replace(" ", "_"): column for column in columns}
    close = difflib.get_close_matches(name, lowered, n=1, cutoff=0.7)
    shared = [column for column in lowered if column.startswith(name[:5])]
    return next((lowered[one] for one in (*close, *shared)), None)


def _scores(name: str, cells: Sequence[str]) -> MetricColumn:
    try:
        values = np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        values = np.array([_number(text) for text in cells], dtype=np.float64)
    fine = np.isfinite(values) if name in CODES else (values >= 0) & (values <= 100)
    missing, raw = {}, {}
    for index in np.flatnonzero(~fine).tolist():
        text = cells[index].strip()
        if text.lower() in _NOTHING:
            missing[index] = NOT_SCORED
        else:
            missing[index] = "outside 0 to 100" if np.isfinite(values[index]) else f"not a number: {text[:40]}"
            raw[index] = text[:200]
    return MetricColumn(np.where(fine, values, np.nan), missing, raw)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
