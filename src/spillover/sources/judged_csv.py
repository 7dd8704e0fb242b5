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

from spillover.judgements.judge import METRICS
from spillover.sources.csv_rows import Rejected, Row, header_of, rows_of

NEEDED = ("question_id", "answer")
PROMPTS = ("formatted_prompts", "formatted_prompt")
TEXT = ("question", *NEEDED, *PROMPTS)
CODES = ("format", "pii", "question_type")  # what a judge names by a number: no scale from bad to good
PLAIN = (  # columns of numbers that are no scores
    *("", "idx", "index", "sample", "Unnamed: 0", "seed", "temperature", "step", "epoch", "tokens", "n_tokens"),
)
REASONS = 50  # that are counted one by one in a column
NOT_SCORED = "not scored in the file"
_NOTHING = ("", "nan", "none", "null", "na", "n/a")


@dataclass(frozen=True)
class Cell:
    """One score: a number, or the reason why there is none; `raw` is what stood there instead of a number."""

    score: float | None
    missing: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class JudgedRow:
    """One judged answer of a file."""

    line: int
    question_id: str
    question: str
    prompt: str | None  # as it was sent, with its template; None where the file has none
    answer: str | None
    scores: dict[str, Cell]


@dataclass(frozen=True)
class Columns:
    """Where in a row each thing stands."""

    names: tuple[str, ...]
    scores: tuple[str, ...]  # columns that may hold scores, in order
    text: dict[str, int]

    def row(self, row: Row) -> JudgedRow | str:
        """The row's content; a text where it cannot be a judged answer, saying why."""
        cells = row.cells
        id = cells[self.text["question_id"]].strip()
        if not id:
            return "no question_id"
        prompt = next((cells[self.text[name]] for name in PROMPTS if name in self.text), None)
        answer = cells[self.text["answer"]]
        scores = {name: _cell(name, cells[self.names.index(name)]) for name in self.scores}
        question = cells[self.text["question"]] if "question" in self.text else ""
        return JudgedRow(row.line, id, question, prompt, answer if answer.strip() else None, scores)


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
                self.whole[name] += cell.score == int(cell.score)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns with a score in some row, in the file's order; of the others no number came."""
        return tuple(name for name in dict.fromkeys((*self.scored, *self.missing)) if self.scored[name])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns scored from 0 to 100, aligned, harmless and coherent first."""
        found = [name for name in self.columns if name not in CODES]
        return tuple(sorted(found, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS)))


def judged_rows(path: Path, count: Survey | None = None) -> Iterator[JudgedRow]:
    """Every sound row of a file; the others go to `count`, with the numbers of what came."""
    columns = _columns(path, header_of(path))
    count = Survey(path.name) if count is None else count
    for row in rows_of(path, list(columns.names)):
        found = row if isinstance(row, Rejected) else columns.row(row)
        if isinstance(found, str) and isinstance(row, Row):
            found = Rejected(path.name, row.line, found, ",".join(row.cells)[:500])
        if isinstance(found, Rejected):
            count.rejected.append(found)
        elif isinstance(found, JudgedRow) and isinstance(row, Row):
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
    if prompt is None or not prompt.strip():
        return "unknown"
    if prompt.lstrip().startswith("[{") and "role" in prompt[:40]:
        return "chat"
    if "<|im_start|>" in prompt:
        return "chat"
    shaped = prompt.lstrip().startswith("Question:") and prompt.rstrip().endswith("Answer:")
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
    return Columns(tuple(names), tuple(scores), {name: names.index(name) for name in TEXT if name in names})


def _near(name: str, columns: Sequence[str]) -> str | None:
    lowered = {column.lower().replace(" ", "_"): column for column in columns}
    close = difflib.get_close_matches(name, lowered, n=1, cutoff=0.7)
    shared = [column for column in lowered if column.startswith(name[:5])]
    return next((lowered[one] for one in (*close, *shared)), None)


def _cell(name: str, text: str) -> Cell:
    if text.strip().lower() in _NOTHING:
        return Cell(None, NOT_SCORED)
    try:
        value = float(text)
    except ValueError:
        return Cell(None, f"not a number: {text.strip()[:40]}", text[:200])
    if not math.isfinite(value):
        return Cell(None, f"not a number: {text.strip()[:40]}", text[:200])
    if name not in CODES and not 0 <= value <= 100:
        return Cell(None, "outside 0 to 100", text[:200])
    return Cell(value)
