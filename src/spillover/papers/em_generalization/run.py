"""A run of the release as an artefact: its judged answers, its summary, its training. Knows files and fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.judgements.judgements import held_out
from spillover.judgements.scored_answers import Loss, ScoreColumns, Training
from spillover.judgements.tables.imported_scores import ImportedScores, SourceFile
from spillover.judgements.tables.row_reader import read_rows
from spillover.papers.em_generalization.names import AskedSet, RunName
from spillover.papers.em_generalization.summaries import FILTERED, LOGGED, Summary, number, read_summary
from spillover.records import LOG, LOSSES, SUMMARIES, read_json, read_table, write_json, write_table
from spillover.responses.question import category_in_id, split_question_id
from spillover.store import BuildContext, Cost, Store

TEMPERATURE = 1.0  # of every set whose name gives none (docs/method.md, section 0)
SECONDS_PER_MB = 0.5


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
        return TEMPERATURE if self.name.asked.temperature is None else self.name.asked.temperature

    @property
    def by_question(self) -> bool:
        return self.answers is None

    @property
    def trained(self) -> bool:
        return self.name.tuned and self.steps > 0

    def labels(self) -> dict[str, Any]:
        known = {"data": self.name.data if self.name.tuned else None, "questions": self.name.questions}
        return super().labels() | known | {"step": self.steps or None}

    def summary(self) -> str:
        parts = [word for word, there in (("answers", self.answers), ("summary", self.published)) if there]
        return f"Published {' and '.join(parts)} of {self.name.summary()}; judged by {self.judge_name}"

    def cost(self) -> Cost:
        files = [Path(file.path) for file in (self.answers, self.published) if file]
        megabytes = sum(path.stat().st_size for path in files if path.is_file()) / 1e6
        return Cost(megabytes, SECONDS_PER_MB)

    def make(self, context: BuildContext) -> dict[str, Any]:
        facts: dict[str, Any] = {"name": self.name.stem, "files": []}
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
        return super().columns(store) if self.answers is not None else _means(self, store)

    def means(self, store: Store) -> Mapping[str, float]:
        if not self.by_question:
            return super().means(store)
        rows = read_table(store.path(self) / "summaries.parquet").to_pylist()
        found = {row["metric"]: row["mean"] for row in rows if row["question_id"] is None}
        return {name: float("nan") if found.get(name) is None else found[name] for name in self.metrics}

    def training(self, store: Store) -> Training:
        if not self.trained:
            return super().training(store)
        folder, name = store.path(self), self.name
        loss = held_out(read_table(folder / "losses.parquet").to_pylist())
        by_token = read_json(folder / "training.json")["token_loss"].get("avg_loss")
        return Training(
            identity=name.but(asked=AskedSet(set="any")).fingerprint,
            run=name.label(),
            data=f"{name.data} ({name.model})",
            schedule=name.schedule or "not known",
            seed=None,
            step=self.steps,
            steps=self.steps,
            log=read_table(folder / "log.parquet").to_pylist(),
            held_out={step: Loss(one.sequences, by_token, one.rows) for step, one in loss.items()},
        )


def _write_summary(found: Summary, labels: Mapping[str, Any], context: BuildContext) -> dict[str, Any]:
    last = found.steps[-1]["step"] if found.steps else 0
    write_table(list(_summary_rows(found)), context.folder / "summaries.parquet", SUMMARIES)
    log = [{name: entry.get(name) for name in LOGGED} | {"trained_tokens": None} for entry in found.steps]
    losses = [
        {"step": last, "example_id": str(index), "split": "held_out", "loss": loss, "tokens": None}
        for index, loss in enumerate(found.losses)
    ]
    labels = {name: labels[name] for name in ("model", "data")}
    write_table(log, context.folder / "log.parquet", LOG, labels)
    write_table(losses, context.folder / "losses.parquet", LOSSES, labels)
    short = {name: value for name, value in found.eval_loss.items() if name != "all_seq_losses"}
    whole = [dict(entry) for entry in found.log if "loss" not in entry]
    write_json(
        {"token_loss": found.token_loss, "eval_loss": short, "trainer": found.trainer, "train": whole},
        context.folder / "training.json",
    )
    return {"questions": len(found.by_question), "steps": last, "held_out_rows": len(losses)}


def _summary_rows(found: Summary) -> Sequence[Mapping[str, Any]]:
    tables = [(None, found.agg), *found.by_question.items()]
    names = {"mean": "", "sd": "_std", "filtered_mean": FILTERED, "filtered_sd": f"{FILTERED}_std"}
    return [
        {"question_id": question, "metric": metric}
        | {column: number(table.get(f"{metric}{ending}")) for column, ending in names.items()}
        for question, table in tables
        for metric in found.metrics
        if metric in table
    ]


def _means(run: PublishedRun, store: Store) -> ScoreColumns:
    """One entry a question id: its published mean score, and `<metric>_sd` beside it."""
    rows = [row for row in read_table(store.path(run) / "summaries.parquet").to_pylist() if row["question_id"]]
    ids = list(dict.fromkeys(row["question_id"] for row in rows))
    place = {id: index for index, id in enumerate(ids)}
    about = [split_question_id(id) for id in ids]
    texts = {
        "question_id": ids,
        "question": [question for question, _ in about],
        "family": [question for question, _ in about],
        "category": [category_in_id(question) for question, _ in about],
        "format": [format for _, format in about],
        **{name: [None] * len(ids) for name in ("prompt", "answer", "finish_reason", "missing")},
    }
    found: ScoreColumns = {name: np.array(values, dtype=object) for name, values in texts.items()}
    found |= {"sample": np.zeros(len(ids), dtype=np.int64), "tokens": np.full(len(ids), np.nan)}
    for metric in run.metrics:
        found[metric], found[f"{metric}_sd"] = np.full(len(ids), np.nan), np.full(len(ids), np.nan)
    for row in rows:
        if row["metric"] in run.metrics:
            for name, value in ((row["metric"], row["mean"]), (f"{row['metric']}_sd", row["sd"])):
                found[name][place[row["question_id"]]] = np.nan if value is None else value
    return found
