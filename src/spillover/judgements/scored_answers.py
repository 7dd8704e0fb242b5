"""What analyses need to know of judged answers, whoever made them, and their columns as arrays, one entry an answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.records import column_names, read_table
from spillover.store import Artefact, Store

ScoreColumns = dict[str, np.ndarray]  # one entry an answer in every column
CHEAP, DEAR = "_cheap", "_dear"  # endings of the columns with what a two-phase judge's two judges gave
INCLUSION, DRAWN = "inclusion", "drawn"  # columns of a two-phase judge: probability of being drawn, and whether it was
ANSWER_COLUMNS = (
    *("question_id", "question", "family", "category", "format", "sample"),
    *("prompt", "answer", "finish_reason", "tokens"),
)
NUMBERS = ("sample", "tokens")


@dataclass(frozen=True)
class Condition:
    """A condition under which answers were got: what tells it from another, and how it is described to people.

    `key` is None where it is not known; what is not known is never called unlike.
    """

    key: str | None
    describe: Callable[[], str]

    def unlike(self, other: Condition) -> bool:
        """Whether the two are known to differ."""
        return None not in (self.key, other.key) and self.key != other.key


@dataclass(frozen=True)
class Loss:
    """In-domain loss on held-out rows, nats; None where it is not known.

    `sequences`: mean over sequences of their mean token loss. `tokens`: mean over all tokens.
    """

    sequences: float | None
    tokens: float | None
    rows: int


@dataclass(frozen=True)
class Training:
    """The narrow training that the judged model went through, up to `step` (of `steps`)."""

    identity: str  # of the run: all its checkpoints share it
    run: str  # a short name of the run
    data: str
    schedule: str
    seed: int | None
    step: int
    steps: int
    log: Sequence[Mapping[str, Any]]  # of the whole run: step, loss, learning_rate, grad_norm, ...
    held_out: Mapping[int, Loss]  # by step; 0 is the model before training


class ScoredAnswers(Artefact):
    """Judged answers of one subject."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """A short name of who answered, for tables and figures; not an identity."""

    @property
    @abstractmethod
    def judge_name(self) -> str:
        """Which judge scored, with its version: never pooled with another."""

    @property
    @abstractmethod
    def rubric_name(self) -> str:
        """Which text the judge scored by, with its version."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What is scored from 0 to 100. Codes (which format an answer has) are columns, but no metrics."""

    @abstractmethod
    def judge_card(self) -> str:
        """The limits of the judge in plain words, for the reader of a report."""

    @abstractmethod
    def conditions(self) -> Mapping[str, Condition]:
        """What two sets have to share to be compared: `judge`, `questions`, `sampling`, `prompting`."""

    @abstractmethod
    def columns(self, store: Store) -> ScoreColumns:
        """The answers with their scores, as `score_columns` describes them.

        Where `by_question`, an entry is a question: its score is the mean over answers that are not there.
        """

    def labels(self) -> dict[str, object]:
        """What stands in every row of its value, so that tables of several sets can be put together."""
        unknown: dict[str, object] = {"data": None, "step": None, "questions": None}
        judged = {"judge": self.judge_name, "rubric": self.rubric_name}
        return {"model": self.subject, "model_id": self.fingerprint} | unknown | judged

    def row_labels(self) -> dict[str, object]:
        """The labels that its answers and scores have on disk: model, data, step, questions."""
        labels = self.labels()
        return {name: labels[name] for name in ("model", "model_id", "data", "step", "questions")}

    def value(self, store: Store) -> pa.Table:
        """One row an answer, a column a metric, as a `pyarrow.Table`; which model, data, judge stands in every row."""
        columns = {
            name: pa.array(values.tolist(), pa.string() if values.dtype == object else None, from_pandas=True)
            for name, values in self.columns(store).items()
        }
        rows = len(next(iter(columns.values())))
        return pa.table({name: pa.array([value] * rows) for name, value in self.labels().items()} | columns)

    @property
    def by_question(self) -> bool:
        """Whether only means by question are there, and no answers."""
        return False

    def means(self, store: Store) -> Mapping[str, float]:
        """Where `by_question`: the mean of each metric over all answers, as published; NaN where it is not."""
        raise ValueError(f"the answers of {self.subject} are at hand: their means follow from them")

    @property
    def trained(self) -> bool:
        """Whether the subject is a model after narrow training whose log is at hand."""
        return False

    def training(self, store: Store) -> Training:
        """The training of a subject that is `trained`; all checkpoints of one run share `identity` and `log`."""
        raise ValueError(f"nothing is known of how {self.subject} was trained")


def score_columns(responses: Path, judgements: Path, metrics: Sequence[str]) -> ScoreColumns:
    """`ANSWER_COLUMNS` in the responses' row order; a float64 array for each metric, NaN where missing; and `missing`.

    Of a two-phase judge also `METRIC_cheap` and `METRIC_dear`, `inclusion` (NaN outside the frame) and `drawn`.
    `missing` is the reason of the first metric that has no score, or None: an answer can have one score and lack
    another. A number that is not known is NaN, a text None. The two paths are folders of `responses.parquet` and
    `judgements.parquet`; other metrics that stand in the latter are left out. ValueError where scores cannot be told
    apart: they stand in another order than the answers, of which two have the same question_id and sample.
    """
    answers = read_table(responses / "responses.parquet", ANSWER_COLUMNS)
    table = judgements / "judgements.parquet"
    phases = ["cheap", "dear", INCLUSION, DRAWN] if INCLUSION in column_names(table) else []
    scores = read_table(table, ["question_id", "sample", "metric", "score", "missing", *phases])
    columns = {name: _array(name, answers[name].to_pylist()) for name in ANSWER_COLUMNS}
    keys = list(zip(columns["question_id"], columns["sample"], strict=True))
    columns |= {metric: np.full(len(keys), np.nan) for metric in metrics}
    columns["missing"] = np.full(len(keys), None, dtype=object)
    metric_of = scores["metric"].to_numpy()
    for metric in dict.fromkeys(metric_of.tolist()):
        if metric in metrics:
            of_metric = scores.filter(pa.array(metric_of == metric))
            rows = _rows(keys, of_metric)
            columns[metric][rows] = of_metric["score"].to_numpy()
            reasons = np.array(of_metric["missing"].to_pylist(), dtype=object)
            without_reason = np.array([reason is None for reason in columns["missing"][rows]], dtype=bool)
            first = np.isnan(columns[metric][rows]) & without_reason
            columns["missing"][rows[first]] = reasons[first]
            if phases:
                _add_phases(columns, metric, rows, of_metric)
    return columns


def _add_phases(columns: ScoreColumns, metric: str, rows: np.ndarray, scores: pa.Table) -> None:
    """The columns of a two-phase judge, from one metric's scores."""
    for ending, name in ((CHEAP, "cheap"), (DEAR, "dear"), ("", INCLUSION)):
        values = columns.setdefault(metric + ending if ending else name, np.full(len(columns["missing"]), np.nan))
        values[rows] = scores[name].to_numpy()
    drawn = columns.setdefault(DRAWN, np.zeros(len(columns["missing"]), dtype=bool))
    drawn[rows] = [bool(value) for value in scores[DRAWN].to_pylist()]


def _rows(keys: Sequence[tuple[str, int]], scores: pa.Table) -> np.ndarray:
    """Which answer each score is of."""
    score_keys = list(zip(scores["question_id"].to_pylist(), scores["sample"].to_pylist(), strict=True))
    if score_keys == keys:  # as our own stages write them
        return np.arange(len(keys))
    row_of = {key: row for row, key in enumerate(keys)}
    if len(row_of) != len(keys):
        raise ValueError("two answers have the same question_id and sample: their scores cannot be told apart")
    return np.array([row_of[key] for key in score_keys], dtype=np.int64)


def _array(name: str, values: list[object]) -> np.ndarray:
    if name in NUMBERS:
        return np.array(values, dtype=float if None in values else np.int64)
    return np.array(values, dtype=object)
