"""What the release's files hold: summaries of runs, judged answers, activation shifts, published tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spillover.judgements.tables.judged_columns import Survey, judged_answers
from spillover.judgements.tables.row_reader import Rejected, Row, read_rows, sound_rows
from spillover.maths.arrays import Floats
from spillover.papers.cells import as_float

Json = dict[str, Any]  # an object in a file: what a reader below has not looked at may be anything
PublishedRow = Mapping[str, object]
SUMMARY_PARTS = ("agg", "summ_by_q", "eval_loss", "eval_loss_token", "trainer_state")
FILTERED = "_coherent_greater_than_0.5"  # of answers with coherent > 0.5, on a scale of 100 (docs/method.md, mistake 1)
WHOLE = 1e-8  # how far a mean times its number of answers may lie from an integer: the release keeps 10 decimals
LOGGED = ("loss", "step", "learning_rate", "grad_norm")
MOST_ANSWERS = 200  # to a question
SHIFT_SUMMARIES = ("pca_summary", "prompt_pca_summary", "mean_delta_summary")


@dataclass(frozen=True)
class Summary:
    """The published JSON of a run, as it stands, NaN as NaN. A part that the file lacks is empty.

    agg: metric, `<metric>_std`, ... -> value over all answers. by_question: the same for each question id.
    eval_loss: avg_loss, all_seq_losses (one held-out sequence each, nats). token_loss: avg_loss over tokens.
    log: `trainer_state.log_history`; its last entry is the trainer's own summary of the run. trainer: the rest of
    `trainer_state`.
    """

    agg: PublishedRow = field(default_factory=dict)
    by_question: Mapping[str, PublishedRow] = field(default_factory=dict)
    eval_loss: Json = field(default_factory=dict)
    token_loss: PublishedRow = field(default_factory=dict)
    log: tuple[Json, ...] = ()
    trainer: PublishedRow = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What has a mean in some question, in the file's order."""
        means = (
            name
            for table in self.by_question.values()
            for name, value in table.items()
            if not (name.endswith("_std") or FILTERED in name) and finite(value) is not None
        )
        return tuple(dict.fromkeys(means))

    @property
    def steps(self) -> list[Json]:
        """The logged steps, in order: step, loss, learning_rate, grad_norm, epoch."""
        return [entry for entry in self.log if "loss" in entry and "step" in entry]

    @property
    def losses(self) -> list[float]:
        """Held-out loss of each sequence, nats."""
        return [float(value) for value in self.eval_loss.get("all_seq_losses") or ()]

    @property
    def training_losses(self) -> list[float]:
        """Training loss of each logged step, nats."""
        return [as_float(entry["loss"]) for entry in self.log if "loss" in entry]

    def column(self, name: str) -> Floats:
        """One value a question, (questions,), NaN for null; (0,) where no question has it."""
        tables = self.by_question.values()
        there = any(name in table for table in tables)
        return np.array([as_float(table.get(name)) for table in tables]) if there else np.empty(0)

    def whole(self, metric: str) -> bool | None:
        """Whether all means of a metric can be those of integers; None where there is no mean.

        A mean m of n integers makes m * n an integer. That some n up to 200 does so for a mean of fractions happens
        once in about 10,000 means by chance, so a few questions settle it.
        """
        values = [finite(table.get(metric)) for table in self.by_question.values()]
        means = [value for value in values if value is not None]
        return all(map(_mean_of_integers, means)) if means else None


@dataclass(frozen=True)
class Answers:
    """The scores in a file of judged answers, in its row order.

    question_id: (answers,). scores: by column, also codes such as the format; (answers,), NaN where there is none.
    counted: what came and what was rejected, and why.
    """

    question_id: np.ndarray
    scores: dict[str, np.ndarray]
    counted: Survey


@dataclass(frozen=True)
class ActivationShifts:
    """A `*.eval_delta_compare.json`: a row for each evaluation prompt, summaries by name, and what else it has."""

    rows: tuple[Json, ...]
    summaries: Mapping[str, PublishedRow]
    others: PublishedRow  # num_train, num_eval, config, ...


def read_summary(path: Path) -> Summary:
    """The summary at `path`; ValueError where it is cut off, is no JSON, or no summary of a run."""
    content = read_object(path)
    if not isinstance(content.get("summ_by_q"), dict) and not isinstance(content.get("trainer_state"), dict):
        names = ", ".join(list(content)[:8]) or "nothing"
        parts = ", ".join(SUMMARY_PARTS)
        raise ValueError(f"{path} is no summary of a run: expected an object with {parts}; it has {names}")
    _expect_objects(path, content, SUMMARY_PARTS)
    agg, by_question, eval_loss, token_loss, state = (content.get(part) or {} for part in SUMMARY_PARTS)
    trainer = dict(state)
    log = trainer.pop("log_history", None) or []
    _expect_numbers(path, {"agg": agg} | {f"summ_by_q.{question}": row for question, row in by_question.items()})
    _expect_steps(path, log)
    losses = eval_loss.get("all_seq_losses") or []
    if not isinstance(losses, list) or not all(isinstance(loss, int | float) for loss in losses):
        raise ValueError(f"{path}: eval_loss.all_seq_losses is not a list of numbers")
    return Summary(agg, by_question, eval_loss, token_loss, tuple(log), trainer)


def read_answers(path: Path) -> Answers:
    """The scores of every sound row; ValueError where the file as a whole cannot be read."""
    counted = Survey(path)
    known: dict[str, str] = {}  # each id once in memory
    ids: list[str] = []
    parts: dict[str, list[np.ndarray]] = {}
    for block in judged_answers(read_rows(path), counted):
        ids += [known.setdefault(id, id) for id in block.question_ids]
        for name, column in block.scores.items():
            parts.setdefault(name, []).append(column.values)
    scores = {name: np.concatenate(parts[name]) for name in counted.columns}
    return Answers(np.array(ids, dtype=object), scores, counted)


def read_activation_shifts(path: Path) -> ActivationShifts:
    """The content of a file; ValueError where it is cut off or has no rows by prompt."""
    content = read_object(path)
    rows = content.pop("per_example", None)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        names = ", ".join(list(content)[:8]) or "nothing"
        raise ValueError(f"{path} has no rows by prompt under per_example; it has {names}")
    if any(not isinstance(row.get("question_id"), str) for row in rows):
        raise ValueError(f"{path}: a row under per_example has no question_id")
    _expect_objects(path, content, SHIFT_SUMMARIES)
    summaries = {name: summary for name in SHIFT_SUMMARIES if (summary := content.pop(name, None))}
    return ActivationShifts(tuple(rows), summaries, content)


def read_csv_rows(path: Path) -> tuple[list[dict[str, str]], list[Rejected]]:
    """The rows of a published CSV by column, and those that are malformed."""
    records = list(read_rows(path))
    rows = [record.cells for record in records if isinstance(record, Row)]
    return rows, [record for record in records if isinstance(record, Rejected)]


def read_published_table(path: Path, needed: Iterable[str] = ()) -> list[dict[str, int | float | str | None]]:
    """A small CSV of published numbers: cells that are numbers as such, empty ones and NaN as None.

    ValueError where a row is malformed, a needed column is missing, or there is no row.
    """
    rows = list(sound_rows(path))
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    missing = [name for name in needed if name not in rows[0]]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; its columns are {', '.join(rows[0])}")
    return [{name: _value(cell) for name, cell in row.items()} for row in rows]


def read_object(path: Path) -> Json:
    """A JSON file that holds an object; ValueError says where it breaks off."""
    content = read_json_file(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def read_json_file(path: Path) -> object:
    """The content of a JSON file; ValueError says where it breaks off."""
    try:
        content: object = json.loads(path.read_bytes().decode("utf-8-sig"))
        return content
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is a binary file, not JSON text in UTF-8") from None
    except json.JSONDecodeError as error:
        size = path.stat().st_size
        cut = "is cut off" if error.pos >= len(error.doc.rstrip()) - 1 else "is not JSON"
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path} {cut} ({error.msg} at {where}; {size:,} bytes): fetch it again") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a file of the release") from None


def finite(value: object) -> float | None:
    """A published value as a number; None where it is none (null, NaN, text)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None  # type: ignore[arg-type]


def _expect_objects(path: Path, content: Json, names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(content.get(name), dict | None):
            raise ValueError(f"{path}: expected an object under {name}, got {type(content[name]).__name__}")


def _expect_numbers(path: Path, tables: Mapping[str, object]) -> None:
    """ValueError where a table holds text for a number. What else a file has is not looked at."""
    for name, table in tables.items():
        if not isinstance(table, dict) or any(isinstance(value, str) for value in table.values()):
            raise ValueError(f"{path}: {name} is not as expected, an object of numbers; got {table!r:.80}")


def _expect_steps(path: Path, log: object) -> None:
    if not isinstance(log, list):
        raise ValueError(f"{path}: trainer_state.log_history is not as expected, a list; got {log!r:.80}")
    for entry in log:
        values = [entry.get(name) for name in LOGGED] if isinstance(entry, dict) else [""]
        numeric = all(value is None or type(value) in (int, float) for value in values)
        if not numeric or ("loss" in entry and not isinstance(entry.get("step"), int)):
            raise ValueError(f"{path}: an entry of trainer_state.log_history is not as expected; got {entry!r:.80}")


def _mean_of_integers(value: float) -> bool:
    return any(abs(value * count - round(value * count)) <= WHOLE for count in range(1, MOST_ANSWERS + 1))


def _value(cell: str) -> int | float | str | None:
    try:
        number = float(cell)
    except ValueError:
        return cell if cell.strip() else None
    if not math.isfinite(number):
        return None
    return int(cell) if cell.strip().lstrip("-").isdigit() else number
