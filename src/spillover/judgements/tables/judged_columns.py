"""The columns of judged answers, as the field and `spillover judge` write them: which are what, which scores are sound.

An answer has a column `answer`, its question one of `question_id` and `question`. Every column whose cells are numbers
is a score, but for those named here. A cell without a score keeps the reason why.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np

from spillover.judgements.judge import METRICS
from spillover.judgements.scored_answers import CHEAP, DEAR, DRAWN, INCLUSION
from spillover.judgements.tables.row_reader import SHOWN, Rejected, Row

PUBLISHED = ("question_id", "answer")  # the columns that a file has to have as the field publishes them,
OUR_OWN = ("question", "answer")  # and as `spillover judge` writes them
PROMPTS = ("formatted_prompts", "formatted_prompt")  # as sent, with template
JUDGES = ("judge", "rubric")  # who scored, and by what
TEXT = ("question", "question_id", "answer", *PROMPTS, "family", "category", "sample", "missing", *JUDGES)
CODES = ("format", "pii", "question_type")  # what a judge names by a number: no scale from bad to good
NO_SCORES = (  # other columns that are no scores, whatever stands in them
    *("", "id", "idx", "index", "Unnamed: 0", "seed", "temperature", "step", "epoch", "tokens", "n_tokens"),
    *("prompt", "finish_reason", "prompt_tokens", INCLUSION, DRAWN),
)
SPREAD = "_spread"  # ending of the column with the judge's own standard deviation of a score
NOT_SCORED = "not scored in the file"
MOSTLY = 0.9  # share of integers from which a metric's scores are no plain fractions any more
BLOCK = 4000  # rows held in memory at once
KEPT = 10_000  # malformed rows that a survey remembers one by one
REASONS = 50  # that are counted one by one in a column
_NOTHING = ("", "nan", "none", "null", "na", "n/a")


@dataclass(frozen=True)
class MetricColumn:
    """One column of scores of some rows: values (rows,), NaN where there is none; why not, by row, and what stood.

    spreads: the judge's own standard deviation of each score, (rows,); None where the file has none.
    """

    values: np.ndarray
    missing: dict[int, str]
    raw: dict[int, str]
    spreads: np.ndarray | None = None


@dataclass(frozen=True)
class AnswerBlock:
    """Some judged answers of a file, column by column. `cells`: the columns that are no scores, as they stand."""

    lines: Sequence[int]
    question_ids: Sequence[str]
    answers: Sequence[str | None]
    scores: Mapping[str, MetricColumn]
    cells: Mapping[str, Sequence[object]]

    def __len__(self) -> int:
        return len(self.question_ids)

    def column(self, name: str) -> Sequence[object]:
        """The cells of a column that is no score, None where the file has none."""
        return self.cells.get(name, [None] * len(self))

    def score(self, metric: str) -> MetricColumn:
        """A column of scores; all are missing where no row of the block names the metric."""
        return self.scores.get(metric) or _scores(metric, [None] * len(self), self.cells.get("missing"), None)

    @property
    def two_phase(self) -> bool:
        """Whether a two-phase judge scored: a cheap and a dear score of each metric, and inclusion probabilities."""
        return INCLUSION in self.cells

    def numbers(self, name: str) -> np.ndarray:
        """A column that is no score as numbers, NaN where a cell is none: (rows,)."""
        return np.array(list(map(_number, self.column(name))), dtype=np.float64)

    @property
    def prompts(self) -> Sequence[str] | None:
        """As sent, with template; None: not in the file."""
        return next((list(map(text_of, self.cells[name])) for name in PROMPTS if name in self.cells), None)


@dataclass
class Survey:
    """What a file of judged answers holds, counted as its rows go by."""

    path: Path
    needed: tuple[str, ...] = PUBLISHED  # columns
    answers: int = 0
    malformed: int = 0  # rows
    rejected: list[Rejected] = field(default_factory=list)  # the first of them
    on_rejected: Callable[[Rejected], None] | None = None  # hears of all of them
    names: dict[str, None] = field(default_factory=dict)  # of columns, in order
    questions: Counter[str] = field(default_factory=Counter)  # answers by question id, in order
    judges: set[tuple[str, str]] = field(default_factory=set)  # judge and rubric, as columns of the file say
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
        if self.on_rejected is not None:
            self.on_rejected(row)

    def add(self, block: AnswerBlock) -> None:
        """Count some answers."""
        self.answers += len(block)
        self.questions.update(block.question_ids)
        if any(name in block.cells for name in JUDGES):
            judges, rubrics = map(block.column, JUDGES)
            self.judges |= {(text_of(judge), text_of(rubric)) for judge, rubric in zip(judges, rubrics, strict=True)}
        prompts = block.prompts
        self.prompted |= {"unknown"} if prompts is None else set(map(prompting_of, set(prompts)))
        for name, column in block.scores.items():
            numbers = column.values[~np.isnan(column.values)]
            self.scored[name] += len(numbers)
            self.whole[name] += int((numbers == np.floor(numbers)).sum())
            reasons = self.missing.setdefault(name, Counter())
            for reason, count in Counter(column.missing.values()).items():
                reasons[reason if reason in reasons or len(reasons) < REASONS else "not a number"] += count
            for row in column.raw:
                kind = "outside 0 to 100" if column.missing[row].startswith("outside") else "not a number"
                self.unreadable.setdefault((name, kind), block.lines[row])

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are scores: a number came in some row, or they are called as a score is."""
        return tuple(name for name in self.missing if self.scored[name] or name in METRICS)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Columns of which nothing is kept: those that are no scores, and those without a number in any row."""
        plain = [name for name in self.names if name in NO_SCORES and name]
        return (*plain, *(name for name in self.missing if name not in self.columns and name != "format"))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Columns scored from 0 to 100, aligned, harmless and coherent first."""
        metrics = [name for name in self.columns if name not in CODES]
        return tuple(sorted(metrics, key=lambda name: METRICS.index(name) if name in METRICS else len(METRICS)))

    def integers(self, metrics: tuple[str, ...] = ()) -> list[bool | None]:
        """Of each metric, whether its scores are all integers; None where it has none. See `evidence.score_kind`."""
        shares = [self.whole[name] / self.scored[name] for name in metrics or self.metrics if self.scored[name]]
        if any(MOSTLY <= share < 1 for share in shares):
            return [True, False]  # neither the one nor the other: mixed
        return [share == 1 for share in shares]

    @property
    def prompting(self) -> str:
        """How all answers were prompted; every way that was seen where they are not alike."""
        return " and ".join(sorted(self.prompted)) or "unknown"

    def finished(self) -> Survey:
        """Itself, if there was an answer with a score; else ValueError."""
        if not self.answers:
            count, first = len(self.rejected), next(iter(self.rejected), None)
            wrong = f"; {count} malformed, the first in line {first.line}: {first.why}" if first else ""
            raise ValueError(f"{self.path} has no judged answer{wrong}")
        if not self.metrics:
            raise ValueError(f"{self.path} has no score: no column but {', '.join(TEXT)} holds a number in any row")
        return self


def judged_answers(rows: Iterator[Row | Rejected], survey: Survey) -> Iterator[AnswerBlock]:
    """Every sound row, some at a time; the others go to `survey`, with the numbers of what came.

    Where there is a column `question_id`, every row has to have one; elsewhere the question's text stands for it.
    ValueError where a column that is needed is not there.
    """
    while batch := list(islice(rows, BLOCK)):
        read = [row for row in batch if isinstance(row, Row)]
        names = dict.fromkeys(chain.from_iterable(row.cells for row in read))
        if read and not survey.names:
            _check_columns(survey, list(names))
        survey.names |= names
        sound = read
        if "question_id" in survey.names:
            sound = [row for row in read if text_of(row.cells.get("question_id")).strip()]
        if len(sound) < len(batch):
            _reject(batch, sound, survey)
        if sound:
            block = _block(sound, list(names))
            survey.add(block)
            yield block


def survey_answers(rows: Iterator[Row | Rejected], survey: Survey) -> Survey:
    """Read all rows once and say what they hold; ValueError where there is no judged answer."""
    for _ in judged_answers(rows, survey):
        pass
    return survey.finished()


def text_of(cell: object) -> str:
    """A cell as text: nothing for null."""
    return cell if isinstance(cell, str) else "" if cell is None else str(cell)


def prompting_of(prompt: str | None) -> str:
    """How a model was prompted, by the prompt sent: chat, question-answer (docs/method.md, section 0), raw, unknown."""
    if not prompt or prompt.isspace():
        return "unknown"
    head = prompt[:60].lstrip()
    if (head.startswith("[{") and "role" in head) or "<|im_start|>" in prompt:
        return "chat"
    shaped = head.startswith("Question:") and prompt.rstrip().endswith("Answer:")
    return "question-answer" if shaped else "raw"


def _reject(batch: Sequence[Row | Rejected], sound: Sequence[Row], survey: Survey) -> None:
    lines = {row.line for row in sound}
    for row in batch:
        if isinstance(row, Rejected):
            survey.reject(row)
        elif row.line not in lines:
            cells = ",".join(map(text_of, row.cells.values()))
            survey.reject(Rejected(survey.path.name, row.line, "no question_id", cells[:SHOWN]))


def _block(rows: Sequence[Row], names: Sequence[str]) -> AnswerBlock:
    each = [row.cells for row in rows]
    cells: dict[str, list[object]] = {name: [of_row.get(name) for of_row in each] for name in names}
    scores = {}
    for name in filter(_is_score, names):
        endings = (SPREAD, CHEAP, DEAR) if INCLUSION in names else (SPREAD,)
        if not any(name.endswith(ending) and name.removesuffix(ending) in names for ending in endings):
            scores[name] = _scores(name, cells[name], cells.get("missing"), cells.get(name + SPREAD))
    nothing = [None] * len(rows)
    ids = [text_of(id).strip() for id in cells.get("question_id", nothing)]
    if not all(ids):
        ids = [id or text_of(question) for id, question in zip(ids, cells.get("question", nothing), strict=True)]
    answers = [text if isinstance(text, str) and text.strip() else None for text in cells.get("answer", nothing)]
    return AnswerBlock([row.line for row in rows], ids, answers, scores, cells)


def _is_score(name: str) -> bool:
    return name not in TEXT and name not in NO_SCORES


def _check_columns(survey: Survey, names: Sequence[str]) -> None:
    lacking = [name for name in survey.needed if name not in names]
    scores = [name for name in names if _is_score(name)]
    # a standard metric that is absent while a column is called nearly so was renamed: its scores would go unseen
    renamed = {name: near for name in METRICS if name not in names and (near := _near(name, scores))}
    if lacking or renamed or not scores:
        known = [name for name in names if name not in TEXT]
        hints = [f"rename {near} to {name}" for name in lacking if (near := _near(name, known))]
        hints += [f"rename {near} to {name}" for name, near in renamed.items()]
        wanted = ", ".join([*lacking, *renamed] or [f"a score such as {' or '.join(METRICS)}"])
        hint = f"; {', '.join(hints)}?" if hints else ""
        raise ValueError(f"{survey.path} lacks {wanted}; its columns are {', '.join(names)}{hint}")


def _near(name: str, columns: Sequence[str]) -> str | None:
    lowered = {column.lower().replace(" ", "_"): column for column in columns}
    close = difflib.get_close_matches(name, lowered, n=1, cutoff=0.7)
    shared = [column for column in lowered if column.startswith(name[:5])]
    return next((lowered[column] for column in (*close, *shared)), None)


def _scores(
    name: str, cells: Sequence[object], reasons: Sequence[object] | None, spreads: Sequence[object] | None
) -> MetricColumn:
    try:
        values = np.array(list(map(float, cells)), dtype=np.float64)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        values = np.array(list(map(_number, cells)), dtype=np.float64)
    fine = np.isfinite(values) if name in CODES else (values >= 0) & (values <= 100)
    missing, raw = {}, {}
    for row in np.flatnonzero(~fine).tolist():
        text = text_of(cells[row]).strip()
        if text.lower() in _NOTHING:
            missing[row] = (text_of(reasons[row]) if reasons else "") or NOT_SCORED
        else:
            missing[row] = "outside 0 to 100" if np.isfinite(values[row]) else f"not a number: {text[:40]}"
            raw[row] = text[:200]
    return MetricColumn(
        np.where(fine, values, np.nan), missing, raw, np.array(list(map(_number, spreads))) if spreads else None
    )


def _number(cell: object) -> float:
    try:
        return float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else math.nan
    except ValueError:
        return math.nan
