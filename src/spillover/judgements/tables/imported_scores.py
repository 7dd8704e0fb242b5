"""Judged answers that others made, as artefacts like our own: what all of them are, and those that one file holds."""

from __future__ import annotations

import contextlib
import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spillover.judgements.judge import METRICS
from spillover.judgements.scored_answers import (
    CHEAP,
    DEAR,
    DRAWN,
    INCLUSION,
    Condition,
    ScoreColumns,
    ScoredAnswers,
    score_columns,
)
from spillover.judgements.tables.evidence import UNKNOWN, ScoredBy, score_kind
from spillover.judgements.tables.judged_columns import (
    OUR_OWN,
    AnswerBlock,
    Survey,
    judged_answers,
    survey_answers,
    text_of,
)
from spillover.judgements.tables.row_reader import ENDINGS, Rejected, Row, read_rows
from spillover.manifest import remembered_sha256
from spillover.records import JUDGEMENTS, REJECTED, RESPONSES, TWO_PHASE, labelled
from spillover.regular_files import absolute
from spillover.responses.question import category_in_id, split_question_id
from spillover.spec import Spec, location_field
from spillover.store import BuildContext, Cost, ProgressFn, Store

KNOWN = (*METRICS, "refusal")  # what `spillover judge` can score, from 0 to 100
NOT_SAID = "not said"
HELD = 1000  # malformed rows held in memory at once
SECONDS_PER_MB = 0.5
MOST_SAMPLES = 2**31


class SourceFile(Spec):
    """A file of somebody else's, known by its bytes."""

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The file as it is now."""
        return cls(path=str(path), sha256=remembered_sha256(path))

    def checked(self) -> Path:
        """Its path, if it still has those bytes."""
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"{path} is not there any more: name it anew, or import it again from where it lies now")
        if remembered_sha256(path) != self.sha256:
            raise ValueError(f"{path} has changed since the import began: give the same command again")
        return path

    def megabytes(self) -> float:
        """Its size; 0 where it is not there any more."""
        path = Path(self.path)
        return path.stat().st_size / 1e6 if path.is_file() else 0.0

    def summary(self) -> str:
        return Path(self.path).name


class QuestionIds(Spec):
    """Which question ids were asked: how many, and the SHA-256 of the sorted list."""

    count: int
    sha256: str

    @classmethod
    def from_ids(cls, ids: Iterable[str]) -> Self:
        """These ids, in whatever order."""
        distinct = sorted(set(ids))
        return cls(count=len(distinct), sha256=hashlib.sha256("\n".join(distinct).encode()).hexdigest())

    def summary(self) -> str:
        return f"{self.count} question ids ({self.sha256[:8]})"


class ImportedScores(ScoredAnswers):
    """Answers that others sampled and judged."""

    judged_by: ScoredBy
    questions: QuestionIds
    scored: tuple[str, ...]  # metrics from 0 to 100
    codes: tuple[str, ...] = ()  # what the judge names by a number; in judgements.parquet, no metric of any analysis
    prompting: str = UNKNOWN  # chat, question-answer, raw

    @property
    def judge_name(self) -> str:
        return self.judged_by.name

    @property
    def rubric_name(self) -> str:
        return self.judged_by.rubric

    @property
    def metrics(self) -> tuple[str, ...]:
        return self.scored

    @property
    def temperature(self) -> float | None:
        """The sampling temperature; None where it is not known."""
        return None

    def judge_card(self) -> str:
        return self.judged_by.card()

    def conditions(self) -> Mapping[str, Condition]:
        heat = None if self.temperature is None else f"temperature {self.temperature:g}"
        return {
            "judge": _known(self.judge_name, self.judged_by.summary()),
            "scores": _known(None if self.judged_by.scores == "none" else self.judged_by.scores, self.judged_by.mode),
            "rubric": _known(self.rubric_name, self.rubric_name),
            "questions": Condition(self.questions.sha256, self.questions.summary),
            "sampling": _known(heat, heat or "temperature unknown"),
            "prompting": _known(self.prompting, self.prompting),
        }

    def columns(self, store: Store) -> ScoreColumns:
        return score_columns(store.path(self), store.path(self), self.metrics)

    def write_answers(self, rows: Iterator[Row | Rejected], file: Path, folder: Path) -> dict[str, object]:
        """Write `responses.parquet`, `judgements.parquet` and `rejected.parquet` of a file's rows; facts about them.

        Answers are numbered within their question in the file's order, where no column `sample` numbers them.
        """
        survey, metrics, numbers = Survey(file, needed=("answer",)), (*self.scored, *self.codes), Counter[str]()
        with (
            _writer(folder / "responses.parquet", RESPONSES) as responses,
            _writer(folder / "rejected.parquet", REJECTED) as rejected,
            contextlib.ExitStack() as later,
        ):
            held: list[Rejected] = []

            def reject(row: Rejected) -> None:
                held.append(row)
                if len(held) >= HELD:
                    flush()

            def flush() -> None:
                rejected.write_table(pa.Table.from_pylist([vars(row) for row in held], schema=REJECTED))
                held.clear()

            survey.on_rejected = reject
            blocks = judged_answers(rows, survey)
            first = next(blocks, None)  # says whether a two-phase judge scored
            schema = TWO_PHASE if first is not None and first.two_phase else JUDGEMENTS
            judgements = later.enter_context(_writer(folder / "judgements.parquet", schema))
            for block in chain([] if first is None else [first], blocks):
                ids, samples = pa.array(block.question_ids, pa.string()), pa.array(_samples(block, numbers), pa.int32())
                responses.write_table(self._responses(block, ids, samples))
                judgements.write_table(self._judgements(block, ids, samples, metrics, schema))
            flush()
        return self._facts(survey, metrics)

    def _responses(self, block: AnswerBlock, ids: pa.Array, samples: pa.Array) -> pa.Table:
        named = "question_id" in block.cells
        about = {id: _about(id) if named else (id, NOT_SAID, NOT_SAID) for id in set(block.question_ids)}
        questions, formats, categories = zip(*(about[id] for id in block.question_ids), strict=True)
        columns = {
            "question_id": ids,
            "sample": samples,
            "question": questions,
            "family": _stated(block, "family", questions),
            "category": _stated(block, "category", categories),
            "format": formats if "format" in self.codes else _stated(block, "format", formats),
            "prompt": list(map(text_of, block.column("question"))),
            "answer": block.answers,
        }
        return self._labelled(columns, len(block), RESPONSES)

    def _judgements(
        self, block: AnswerBlock, ids: pa.Array, samples: pa.Array, metrics: tuple[str, ...], schema: pa.Schema
    ) -> pa.Table:
        """One row an answer and metric, the metrics of an answer together."""
        rows, each = len(block), len(metrics)
        answer = pa.array(np.repeat(np.arange(rows), each))
        scores = [block.score(metric) for metric in metrics]
        spreads = [np.full(rows, np.nan) if column.spreads is None else column.spreads for column in scores]
        columns = {
            "question_id": ids.take(answer),
            "sample": samples.take(answer),
            "metric": pa.array(metrics, pa.string()).take(pa.array(np.tile(np.arange(each), rows))),
            "score": _interleaved([column.values for column in scores]),
            "missing": _texts([column.missing for column in scores], rows),
            "spread": _interleaved(spreads),
            "judge": pa.repeat(self.judge_name, rows * each),
            "rubric": pa.repeat(self.rubric_name, rows * each),
            "raw": _texts([column.raw for column in scores], rows),
        }
        if schema is TWO_PHASE:
            for name, ending in (("cheap", CHEAP), ("dear", DEAR)):
                columns[name] = _interleaved([block.numbers(metric + ending) for metric in metrics])
            columns[INCLUSION] = _interleaved([block.numbers(INCLUSION)] * each)
            columns[DRAWN] = pa.array(np.repeat(block.numbers(DRAWN) == 1, each))
        return self._labelled(columns, rows * each, schema)

    def _labelled(self, columns: Mapping[str, object], rows: int, schema: pa.Schema) -> pa.Table:
        """A table of these columns, in the schema's order, with the labels that stand in every row."""
        nothing = pa.nulls(rows)
        table = pa.table([columns.get(name, nothing) for name in schema.names], schema=schema)
        return labelled(table, self.row_labels(), schema).select(schema.names)

    def _facts(self, survey: Survey, metrics: tuple[str, ...]) -> dict[str, object]:
        return {
            "answers": survey.answers,
            "rejected": survey.malformed,
            "scored": {name: survey.scored[name] for name in metrics},
            "missing": {name: dict(sorted(survey.missing.get(name, Counter()).items())) for name in metrics},
            "unreadable": [
                {"file": survey.path.name, "line": line, "column": name, "why": why}
                for (name, why), line in survey.unreadable.items()
                if name in metrics
            ],
            "left_out": list(survey.left_out),
            "judge": self.judge_name,
            "rubric": self.rubric_name,
            "evidence": self.judged_by.evidence(),
            "conflict": self.judged_by.conflict(),
        }


class ImportedFile(ImportedScores):
    """Judged answers in one file, known by its bytes. Subclass it for a layout of columns of its own."""

    file: SourceFile

    @classmethod
    @abstractmethod
    def rows(cls, path: Path, progress: ProgressFn = lambda share: None) -> Iterator[Row | Rejected]:
        """The rows of such a file under the names that `judged_columns` knows."""

    @classmethod
    def from_file(cls, path: Path | str, judge: str = "") -> Self:
        """The file at `path`, as it is now, with question, answer and scores as `spillover judge` writes them.

        Who judged: as given, else as a column of it says, else the file's own name. ValueError with the line where
        a row is malformed or a cell is no score: what is compared has to be whole.
        """
        file = absolute(path)
        if not file.is_file():
            raise ValueError(f"no file {path}: give a fingerprint, or a file that `spillover judge` wrote")
        survey = survey_answers(cls.rows(file), Survey(file, needed=OUR_OWN))
        for row in survey.rejected:
            raise ValueError(f"{path}, line {row.line}: {row.why}")
        for (metric, why), line in survey.unreadable.items():
            if metric in KNOWN:
                raise ValueError(
                    f"{path}, line {line}: {metric} is {why}; a score is a number from 0 to 100, or nothing"
                )
        metrics = tuple(metric for metric in KNOWN if metric in survey.columns)
        if not metrics:
            raise ValueError(
                f"{path} has no column {', '.join(KNOWN[:-1])} or {KNOWN[-1]}: there is nothing to compare"
            )
        scores = cls.from_survey(survey, judge, metrics)
        named = scores.judged_by.stated or file.name
        return scores.but(judged_by=scores.judged_by.but(stated=named))

    @classmethod
    def from_survey(cls, survey: Survey, judge: str | None = None, metrics: tuple[str, ...] = ()) -> Self:
        """The file that was surveyed; of it these metrics, else all. Who judged: as given, else as it says itself."""
        if len(survey.judges) > 1:
            names = " and ".join(sorted(f"{name} ({rubric or NOT_SAID})" for name, rubric in survey.judges)[:2])
            raise ValueError(f"{survey.path} holds scores of unlike judges, {names}: put each into a file of its own")
        ((stated, rubric),) = survey.judges or {("", "")}
        return cls(
            file=SourceFile.from_file(survey.path.absolute()),
            judged_by=ScoredBy(
                scores=score_kind(survey.integers(metrics)),
                stated=judge or stated or None,
                stated_rubric=rubric or None,
            ),
            questions=QuestionIds.from_ids(survey.questions),
            scored=metrics or survey.metrics,
            codes=tuple(name for name in survey.columns if name not in survey.metrics),
            prompting=survey.prompting,
        )

    @property
    def subject(self) -> str:
        """The file's name, without its ending."""
        name = Path(self.file.path).name
        return next((name[: -len(known)] for known in ENDINGS if name.endswith(known)), name)

    def summary(self) -> str:
        return f"Judged answers in {Path(self.file.path).name}; judge {self.judge_name}"

    def cost(self) -> Cost:
        return Cost(self.file.megabytes(), SECONDS_PER_MB)

    def make(self, context: BuildContext) -> dict[str, object]:
        path = self.file.checked()
        return self.write_answers(self.rows(path, context.progress), path, context.folder) | {"files": [path.name]}


class JudgedFile(ImportedFile):
    """Judged answers in one file, its columns under the names that `spillover judge` writes."""

    @classmethod
    def rows(cls, path: Path, progress: ProgressFn = lambda share: None) -> Iterator[Row | Rejected]:
        return read_rows(path, progress)


def _known(key: str | None, words: str) -> Condition:
    return Condition(None if key in (None, UNKNOWN) else key, lambda: words)


def _about(id: str) -> tuple[str, str, str]:
    """Question, answer format and category, from a published question id."""
    question, format = split_question_id(id)
    return question, format, category_in_id(question)


def _samples(block: AnswerBlock, numbers: Counter[str]) -> list[int]:
    """The number of each answer among those to its question: the file's own, else counted in the file's order."""
    samples = []
    for id, stated in zip(block.question_ids, block.column("sample"), strict=True):
        text = text_of(stated).strip().removesuffix(".0")
        samples.append(int(text) if text.isdecimal() and len(text) < 10 else numbers[id])
        numbers[id] += 1
    return samples


def _stated(block: AnswerBlock, name: str, otherwise: Sequence[str]) -> Sequence[str]:
    """A column of text as the file has it; where a cell is empty, and where there is no such column, `otherwise`."""
    return [text_of(cell) or text for cell, text in zip(block.column(name), otherwise, strict=True)]


def _interleaved(columns: Sequence[np.ndarray]) -> pa.Array:
    """Numbers of several columns, row by row; NaN becomes null."""
    return pa.array(np.stack(columns, axis=1).ravel(), pa.float64(), from_pandas=True)


def _texts(columns: Sequence[dict[int, str]], rows: int) -> pa.Array:
    """The texts of some rows in each of several columns as one array, row by row; null elsewhere."""
    texts: list[str | None] = [None] * (rows * len(columns))
    for place, column in enumerate(columns):
        for row, text in column.items():
            texts[row * len(columns) + place] = text
    return pa.array(texts, pa.string())


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)
