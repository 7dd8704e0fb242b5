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
from pathlib import Path
from typing import NamedTuple

from spillover.judgements.judge import METRICS
from spillover.sources.csv_rows import Rejected, Row, header_of, rows_of

NEEDED = ("question_id", "answer")
PROMPTS = ("formatted_prompts", "formatted_prompt")
TEXT = ("question", *NEEDED, *PROMPTS)
CODES = ("format", "pii", "question_type")  # what a judge names by a number: no scale from bad to good
PLAIN = (  # columns of numbers that are no scores
    *("", "idx", "index", "sample", "Unnamed: 0", "seed", "temperature", "step", "epoch", "tokens", "n_tokens"),
)
MOSTLY = 0.9  # share of integers from which a metric's scores are no plain fractions any more
REASONS = 50  # that are counted one by one in a column
NOT_SCORED = "not scored in the file"
_NOTHING = ("", "nan", "none", "null", "na", "n/a")


class Cell(NamedTuple):
    """One score: a number, or the reason why there is none; `raw` is what stood there instead of a number."""

    score: float | None
    missing: str | None = None
    raw: str | None = None


class JudgedRow(NamedTuple):
    """One judged answer of a file."""

    line: int
    question_id: str
    question: str
    prompt: str | None  # as it was sent, with its template; None where the file has none
    answer: str | None
    scores: dict[str, Cell]


_EMPTY = Cell(None, NOT_SCORED)


@dataclass(frozen=True)
class Columns:
    """Where in a row each thing stands."""

    names: tuple[str, ...]
    scores: tuple[tuple[str, int], ...]  # columns that may hold scores, in order
    text: dict[str, int]

    @property
    def prompt(self) -> int | None:
        """Where the prompt as sent stands."""
        return next((self.text[name] for name in PROMPTS if name in self.text), None)

    def reader(self) -> Callable[[Row], JudgedRow | str]:
        """A function from a row to its content, or to a text that says why it cannot be a judged answer."""
        id_at, answer_at, prompt_at = self.text["question_id"], self.text["answer"], self.prompt
        question_at, scores = self.text.get("question"), self.scores

        def read(row: Row) -> JudgedRow | str:
            cells = row.cells
            id, answer = cells[id_at].strip(), cells[answer_at]
            if not id:
                return "no question_id"
            return JudgedRow(
                row.line,
                id,
                "" if question_at is None else cells[question_at],
                None if prompt_at is None else cells[prompt_at],
                answer if answer and not answer.isspace() else None,
                {name: _cell(name, cells[at]) for name, at in scores},
            )

        return read


@dataclass
class Survey:
    """What a file holds, counted as its rows go by."""

    file: str
    answers: int = 0
    read: int = 0  # characters
    rejected: list[Rejected] = field(default_factory=list)
    questions: Counter[str] = field(default_factory=Counter)  # answers by question id, in order
    scored: Counter[str] = field(default_factory=Counter)  # numbers by column
    whole: Counter[str] = field(default_factory=Counter)  # of these, integers
    missing: dict[str, Counter[str]] = field(default_factory=dict)  # by column and reason
    prompted: Counter[str] = field(default_factory=Counter)  # chat, question-answer, raw, or unknown

    def add(self, row: JudgedRow) -> None:
        """Count one row."""
        self.answers += 1
        self.questions[row.question_id] += 1
        self.prompted[prompting_of(row.prompt)] += 1
        for name, cell in row.scores.items():
            if cell.score is None:
                reasons = self.missing.setdefault(name, Counter())
                reason = cell.missing or NOT_SCORED
                reasons[reason if reason in reasons or len(reasons) < REASONS else "not a number"] += 1
            else:
                self.scored[name] += 1
                if cell.score.is_integer():
                    self.whole[name] += 1

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are scores: a number came in some row, or they are called as a score is."""
        seen = dict.fromkeys((*self.scored, *self.missing))
        return tuple(name for name in seen if self.scored[name] or name in METRICS)

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


def judged_rows(path: Path, count: Survey | None = None) -> Iterator[JudgedRow]:
    """Every sound row of a file; the others go to `count`, with the numbers of what came."""
    columns = _columns(path, header_of(path))
    count = Survey(path.name) if count is None else count
    read = columns.reader()
    for row in rows_of(path, list(columns.names)):
        if isinstance(row, Rejected):
            count.rejected.append(row)
            continue
        found = read(row)
        if isinstance(found, str):
            count.rejected.append(Rejected(path.name, row.line, found, ",".join(row.cells)[:500]))
            continue
        count.read = row.read
        count.add(found)
        yield found


def survey(path: Path, tick: Callable[[float], None] = lambda share: None) -> Survey:
    """Read a whole file once and say what it holds; ValueError where it holds no judged answer."""
    found = Survey(path.name)
    size = max(1, path.stat().st_size) if path.is_file() else 1
    for number, _ in enumerate(judged_rows(path, found)):
        if number % 2000 == 0:
            tick(min(1.0, found.read / size))
    if not found.answers:
        wrong = (
            f"; {len(found.rejected)} malformed, the first in line {found.rejected[0].line}: " if found.rejected else ""
        )
        raise ValueError(f"{path} has no judged answer{wrong}{found.rejected[0].why if found.rejected else ''}")
    if not found.metrics:
        raise ValueError(f"{path} has no score: no column but {', '.join(TEXT)} holds a number in any row")
    return found


def prompting_of(prompt: str | None) -> str:
    """How a model was prompted, from the prompt as sent: chat, question-answer (METHOD, section 0), raw, or unknown."""
    if not prompt or prompt.isspace():
        return "unknown"
    head = prompt[:60].lstrip()
    if (head.startswith("[{") and "role" in head) or "<|im_start|>" in prompt:
        return "chat"
    shaped = head.startswith("Question:") and prompt.rstrip().endswith("Answer:")
    return "question-answer" if shaped else "raw"


def _columns(path: Path, names: Sequence[str]) -> Columns:
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
    return Columns(
        tuple(names),
        tuple((name, names.index(name)) for name in scores),
        {name: names.index(name) for name in TEXT if name in names},
    )


def _near(name: str, columns: Sequence[str]) -> str | None:
    lowered = {column.lower().replace(" ", "_"): column for column in columns}
    close = difflib.get_close_matches(name, lowered, n=1, cutoff=0.7)
    shared = [column for column in lowered if column.startswith(name[:5])]
    return next((lowered[one] for one in (*close, *shared)), None)


def _cell(name: str, text: str) -> Cell:
    if not text:
        return _EMPTY
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if (0 <= value <= 100) or (name in CODES and math.isfinite(value)):
        return Cell(value)
    if text.strip().lower() in _NOTHING:
        return _EMPTY
    if math.isfinite(value):
        return Cell(None, "outside 0 to 100", text[:200])
    return Cell(None, f"not a number: {text.strip()[:40]}", text[:200])
