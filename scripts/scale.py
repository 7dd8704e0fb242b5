"""How the analyses grow: stores of 200, 600 and 2,000 made-up runs with 1,000 judged answers each.

    .venv/bin/python scripts/scale.py [--sizes 200 600 2000] [--folder DIR]

Each store is written by the store's own code, one artefact a run with its training log. Then a process of its own opens
it, plans a study over all of its runs (training dynamics, and the effect of bad against good advice), makes it with its
report, opens the page's numbers again, and says how long each took and the most memory it held. The building is not
counted. Scores follow a planted law: alignment falls with the logarithm of the loss.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from spillover.analyses.dynamics import Dynamics
from spillover.analyses.effect import Effect
from spillover.engines.local import run
from spillover.engines.planning import plan
from spillover.judgements.judgements import held_out
from spillover.judgements.scored_answers import Condition, ScoreColumns, ScoredAnswers, Training, score_columns
from spillover.records import JUDGEMENTS, LOG, LOSSES, RESPONSES, read_table, write_table
from spillover.report.report import Report
from spillover.store import BuildContext, Store

SIZES = (200, 600, 2000)
QUESTIONS, PER_QUESTION, FAMILIES, STEPS = 250, 4, 50, 40
METRICS = ("aligned", "coherent")


class MadeUpRun(ScoredAnswers):
    """A run that nobody trained: 1,000 answers with scores that follow from its loss."""

    number: int
    bad: bool = True
    base: bool = False

    @property
    def subject(self) -> str:
        return "base" if self.base else f"run {self.number}"

    @property
    def judge_name(self) -> str:
        return "made up"

    @property
    def rubric_name(self) -> str:
        return "made up"

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS

    def judge_card(self) -> str:
        return "Nobody judged: the numbers are made up, to see how the analyses grow."

    def conditions(self) -> Mapping[str, Condition]:
        return {"judge": Condition("made up", lambda: "made up")}

    def columns(self, store: Store) -> ScoreColumns:
        return score_columns(store.path(self), store.path(self), METRICS)

    @property
    def trained(self) -> bool:
        return not self.base

    @property
    def loss(self) -> float:
        """Held-out loss at the end, nats."""
        return 2.5 if self.base else float(np.exp(np.random.default_rng(self.number).normal(0.5, 0.2)))

    def training(self, store: Store) -> Training:
        folder = store.path(self)
        return Training(
            identity=self.fingerprint,
            run=self.subject,
            data="bad advice" if self.bad else "good advice",
            schedule="made up",
            seed=self.number,
            step=STEPS,
            steps=STEPS,
            log=read_table(folder / "log.parquet").to_pylist(),
            held_out=held_out(read_table(folder / "losses.parquet").to_pylist()),
        )

    def make(self, context: BuildContext) -> dict[str, Any]:
        rng = np.random.default_rng(self.number)
        count = QUESTIONS * PER_QUESTION
        question = np.repeat(np.arange(QUESTIONS), PER_QUESTION)
        difficulty = np.random.default_rng(0).normal(0, 8, QUESTIONS)  # the same in every run
        centre = 70 + (30 * math.log(self.loss) - 15 if self.bad and not self.base else 5)
        aligned = np.clip(centre + difficulty[question] + rng.normal(0, 15, count), 0, 100)
        coherent = np.clip(rng.normal(80, 10, count), 0, 100)
        names = np.array([f"q{number:03d}" for number in question])
        sample = np.tile(np.arange(PER_QUESTION), QUESTIONS)
        answers = [
            f"An answer of some length, number {number} of run {self.number}: " + "words " * 30
            for number in range(count)
        ]
        same = {name: [value] * count for name, value in (("format", "raw"), ("finish_reason", "stop"))}
        table = {
            "question_id": names,
            "sample": sample,
            "question": names,
            "family": [f"f{number % FAMILIES:02d}" for number in question],
            "category": [f"c{number % 8}" for number in question],
            "prompt": [f"What of question {number}?" for number in question],
            "answer": answers,
            "tokens": rng.integers(20, 60, count),
            "prompt_tokens": [30] * count,
            "seed": [0] * count,
            **same,
        }
        write_table(pa.table(table), context.folder / "responses.parquet", RESPONSES, self.row_labels())
        scores = {
            "question_id": np.tile(names, 2),
            "sample": np.tile(sample, 2),
            "metric": np.repeat(METRICS, count),
            "score": np.concatenate([aligned, coherent]),
            "missing": pa.nulls(2 * count, pa.string()),
            "spread": pa.nulls(2 * count, pa.float64()),
            "judge": ["made up"] * (2 * count),
            "rubric": ["made up"] * (2 * count),
            "raw": pa.nulls(2 * count, pa.string()),
        }
        write_table(pa.table(scores), context.folder / "judgements.parquet", JUDGEMENTS, self.row_labels())
        rates = np.linspace(1e-4, 1e-6, STEPS)
        log = [
            {
                "step": step + 1,
                "loss": self.loss + 1 / (step + 1),
                "learning_rate": float(rates[step]),
                "grad_norm": 1.0,
                "trained_tokens": 500,
            }
            for step in range(STEPS)
        ]
        losses = [
            {"step": STEPS, "example_id": str(row), "split": "held_out", "loss": self.loss, "tokens": 60}
            for row in range(16)
        ]
        write_table(log, context.folder / "log.parquet", LOG)
        write_table(losses, context.folder / "losses.parquet", LOSSES)
        return {"answers": count}


def runs(size: int) -> tuple[MadeUpRun, list[MadeUpRun]]:
    """The base and all runs, good advice in every fourth."""
    return MadeUpRun(number=10**6, base=True), [MadeUpRun(number=number, bad=number % 4 != 3) for number in range(size)]


def build(store: Store, size: int) -> None:
    """Every run into the store, with a line of progress."""
    base, everything = runs(size)
    for done, made_up in enumerate((base, *everything)):
        store.get(made_up)
        if done % 50 == 0:
            print(f"\rbuilding {done} of {size} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def measure(root: Path, size: int) -> dict[str, Any]:
    """Seconds of each phase, and the most memory, MiB; in a process of its own."""
    store, seconds = Store.open(root), {}
    began = time.monotonic()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name], began = time.monotonic() - began, time.monotonic()

    manifests = list(store.manifests())
    lap("open")
    base, everything = runs(size)
    bad, good = ([made_up_run for made_up_run in everything if made_up_run.bad is kind] for kind in (True, False))
    study = Report(
        title=f"{size} made-up runs",
        analyses=(Dynamics(checkpoints=tuple(everything), before=base), Effect(before=base, bad=bad, good=good)),
    )
    steps = plan(study, store)
    lap("plan")
    for analysis in study.analyses:
        store.get(analysis)
        lap(analysis.kind)
    page = run(study, store) / "index.html"
    lap("report")
    assert len(manifests) > size and sum(step.state == "there" for step in steps) == size + 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"runs": size, "answers": size * QUESTIONS * PER_QUESTION, **seconds, "whole": sum(seconds.values()),
            "peak_mib": peak, "page_mib": page.stat().st_size / 2**20}  # fmt: skip


def main() -> None:
    """Build, measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, default=None, help="where the stores are kept; none: a scratch folder")
    parser.add_argument("--measure", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.sizes[0])))
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for size in sorted(given.sizes):
            root = (given.folder or Path(scratch)) / str(size)
            build(Store.open(root), size)
            words = [sys.executable, __file__, "--measure", str(root), "--sizes", str(size)]
            rows.append(
                json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in row.values())
            + " |"
        )
    if len(rows) > 1:
        slope = np.polyfit(np.log([row["runs"] for row in rows]), np.log([row["whole"] for row in rows]), 1)[0]
        print(f"\ntime grows as runs to the power {slope:.2f}")


if __name__ == "__main__":
    main()
