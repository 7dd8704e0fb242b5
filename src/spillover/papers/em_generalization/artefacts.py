"""What the release's files become in a store: runs, activation shifts, cross-validated predictions, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from spillover.judgements.judgements import held_out
from spillover.judgements.scored_answers import Loss, ScoreColumns, Training
from spillover.judgements.tables.imported_scores import ImportedScores, SourceFile
from spillover.judgements.tables.row_reader import read_rows
from spillover.papers.em_generalization.contents import (
    FILTERED,
    LOGGED,
    Json,
    Summary,
    finite,
    read_activation_shifts,
    read_published_table,
    read_summary,
)
from spillover.papers.em_generalization.names import CrossValidationName, GeometryName, QuestionSetName, RunName
from spillover.records import LOG, LOSSES, SUMMARIES, read_json, read_table, write_json, write_table
from spillover.responses.question import category_in_id, split_question_id
from spillover.store import Artefact, BuildContext, Cost, Store

TEMPERATURE = 1.0  # of every set whose name gives none (docs/method.md, section 0)
SECONDS_PER_MB = 0.5
SUMMARY_COLUMNS = {"mean": "", "sd": "_std", "filtered_mean": FILTERED, "filtered_sd": f"{FILTERED}_std"}
SETS = ("hbp", "fpq", "general", "preregistered")  # how ids of evaluation prompts begin: hbp.QUESTION
LONGEST = 1000  # characters of a cell that is kept: some tables carry whole logs, which the runs' own files have


class PublishedRun(ImportedScores):
    """A fine-tuned (or untuned) model of the paper with its published answers, scores and training log."""

    name: RunName
    answers: SourceFile | None = None  # CSV of judged answers
    published: SourceFile | None = None  # JSON: scores by question, losses, log
    steps: int = 0  # optimiser steps in the log; 0: no log

    @property
    def subject(self) -> str:
        return self.name.label()

    @property
    def temperature(self) -> float | None:
        named = self.name.question_set.temperature
        return TEMPERATURE if named is None else named

    @property
    def by_question(self) -> bool:
        return self.answers is None

    @property
    def trained(self) -> bool:
        return self.name.tuned and self.steps > 0

    def labels(self) -> dict[str, object]:
        known = {"data": self.name.data if self.name.tuned else None, "questions": self.name.questions}
        return super().labels() | known | {"step": self.steps or None}

    def summary(self) -> str:
        parts = [word for word, there in (("answers", self.answers), ("summary", self.published)) if there]
        return f"Published {' and '.join(parts)} of {self.name.summary()}; judged by {self.judge_name}"

    def cost(self) -> Cost:
        files = [Path(file.path) for file in (self.answers, self.published) if file]
        megabytes = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
        return Cost(megabytes, SECONDS_PER_MB)

    def make(self, context: BuildContext) -> Json:
        facts: Json = {"name": self.name.file_name, "files": []}
        if self.answers is not None:
            path = self.answers.checked()
            facts |= self.write_answers(read_rows(path, context.progress), path, context.folder)
            facts["files"].append(path.name)
        if self.published is not None:
            path = self.published.checked()
            facts |= _write_summary(read_summary(path), self.row_labels(), context)
            facts["files"].append(path.name)
        return facts | {"judge": self.judge_name, "evidence": self.judged_by.evidence()}

    def columns(self, store: Store) -> ScoreColumns:
        if self.answers is not None:
            return super().columns(store)
        rows = read_table(store.path(self) / "summaries.parquet").to_pylist()
        return _means_by_question([row for row in rows if row["question_id"]], self.metrics)

    def means(self, store: Store) -> Mapping[str, float]:
        if not self.by_question:
            return super().means(store)
        rows = read_table(store.path(self) / "summaries.parquet").to_pylist()
        means = {row["metric"]: row["mean"] for row in rows if row["question_id"] is None}
        return {name: float("nan") if means.get(name) is None else means[name] for name in self.metrics}

    def training(self, store: Store) -> Training:
        if not self.trained:
            return super().training(store)
        folder, name = store.path(self), self.name
        losses = held_out(read_table(folder / "losses.parquet").to_pylist())
        by_token = read_json(folder / "training.json")["token_loss"].get("avg_loss")
        return Training(
            identity=name.but(question_set=QuestionSetName(set="any")).fingerprint,
            run=name.label(),
            data=f"{name.data} ({name.model})",
            schedule=name.schedule or "not known",
            seed=None,
            step=self.steps,
            steps=self.steps,
            log=read_table(folder / "log.parquet").to_pylist(),
            held_out={step: Loss(loss.sequences, by_token, loss.rows) for step, loss in losses.items()},
        )


class PublishedGeometry(Artefact):
    """Published activation shifts of evaluation prompts against those of the training prompts."""

    name: GeometryName
    file: SourceFile

    def summary(self) -> str:
        return f"Published geometry of {self.name.label()}"

    def make(self, context: BuildContext) -> Json:
        shifts = read_activation_shifts(self.file.checked())
        rows = [_prompt_row(row) for row in shifts.rows]
        write_table(as_table(rows), context.folder / "geometry.parquet")
        write_json({**shifts.others, **shifts.summaries}, context.folder / "summaries.json")
        return {"prompts": len(rows), "columns": len(rows[0])}


class PublishedCrossValidation(Artefact):
    """Published results of predicting question scores from activations: R2 and RMSE of each regressor."""

    name: CrossValidationName
    file: SourceFile

    def summary(self) -> str:
        return f"Published cross-validation, {self.name.label()}"

    def make(self, context: BuildContext) -> Json:
        rows = read_published_table(self.file.checked(), ("name", "cv_r2_mean"))
        write_table(as_table(rows), context.folder / "results.parquet")
        return {"regressors": [row["name"] for row in rows], "r2": [row["cv_r2_mean"] for row in rows]}


class PublishedTable(Artefact):
    """A table of published numbers, as it stands."""

    name: str
    file: SourceFile

    def summary(self) -> str:
        return f"Published table {self.name}"

    def make(self, context: BuildContext) -> Json:
        rows = read_published_table(self.file.checked())
        long = {name for row in rows for name, cell in row.items() if isinstance(cell, str) and len(cell) > LONGEST}
        short = [{name or "row": cell for name, cell in row.items() if name not in long} for row in rows]
        write_table(as_table(short), context.folder / "table.parquet")
        return {"rows": len(rows), "left_out": sorted(long)}


def as_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows that may lack a column as a table; a column is of numbers where all its cells are."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        kinds = {type(value) for value in values} - {type(None)}
        if kinds <= {int, float}:
            columns[name] = pa.array(values, pa.int64() if kinds == {int} else pa.float64(), from_pandas=True)
        else:
            columns[name] = pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.table(columns)


def _prompt_row(row: Json) -> dict[str, object]:
    """A row's single values, with the question's own id; lists and paths on the makers' machines are left out."""
    first, dot, rest = row["question_id"].partition(".")
    question = rest if dot and first in SETS else row["question_id"]
    ids = {"question_id": question, "prompt_id": row["question_id"]}
    return ids | {
        name: value
        for name, value in row.items()
        if isinstance(value, str | int | float) and not (name in ids or "path" in name or "filename" in name)
    }


def _write_summary(summary: Summary, labels: Mapping[str, object], context: BuildContext) -> Json:
    """Write a run's summary as `summaries.parquet`, `log.parquet`, `losses.parquet`, `training.json`; facts of it."""
    last = summary.steps[-1]["step"] if summary.steps else 0
    tables = [(None, summary.agg), *summary.by_question.items()]
    means: list[Json] = [
        {"question_id": question, "metric": metric}
        | {column: finite(table.get(f"{metric}{ending}")) for column, ending in SUMMARY_COLUMNS.items()}
        for question, table in tables
        for metric in summary.metrics
        if metric in table
    ]
    log = [{name: entry.get(name) for name in LOGGED} | {"trained_tokens": None} for entry in summary.steps]
    losses = [
        {"step": last, "example_id": str(index), "split": "held_out", "loss": loss, "tokens": None}
        for index, loss in enumerate(summary.losses)
    ]
    write_table(means, context.folder / "summaries.parquet", SUMMARIES)
    whose = {name: labels[name] for name in ("model", "model_id", "data")}
    write_table(log, context.folder / "log.parquet", LOG, whose)
    write_table(losses, context.folder / "losses.parquet", LOSSES, whose)
    training = {
        "token_loss": summary.token_loss,
        "eval_loss": {name: value for name, value in summary.eval_loss.items() if name != "all_seq_losses"},
        "trainer": summary.trainer,
        "train": [dict(entry) for entry in summary.log if "loss" not in entry],
    }
    write_json(training, context.folder / "training.json")
    return {"questions": len(summary.by_question), "steps": last, "held_out_rows": len(losses)}


def _means_by_question(rows: Sequence[Json], metrics: Sequence[str]) -> ScoreColumns:
    """One entry a question id: its published mean score, and `<metric>_sd` beside it."""
    ids = list(dict.fromkeys(row["question_id"] for row in rows))
    questions, formats = zip(*map(split_question_id, ids), strict=True) if ids else ((), ())
    texts = {
        "question_id": ids,
        "question": questions,
        "family": questions,
        "category": [category_in_id(question) for question in questions],
        "format": formats,
        **{name: [None] * len(ids) for name in ("prompt", "answer", "finish_reason", "missing")},
    }
    columns: ScoreColumns = {name: np.array(values, dtype=object) for name, values in texts.items()}
    columns |= {"sample": np.zeros(len(ids), dtype=np.int64), "tokens": np.full(len(ids), np.nan)}
    by_metric = {(row["metric"], row["question_id"]): row for row in rows}
    for metric in metrics:
        for name, statistic in ((metric, "mean"), (f"{metric}_sd", "sd")):
            values = [by_metric.get((metric, id), {}).get(statistic) for id in ids]
            columns[name] = np.array(values, dtype=np.float64)
    return columns
