"""A study whose answers, losses and activations are planted, so that the truth is known. Makes no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from spillover.activations.activations import ARRAYS, Activations
from spillover.activations.prompts import EvaluationPrompts, Prompts, TrainingPrompts
from spillover.analyses.analysis import Analysis, AnalysisResult
from spillover.judgements.judgements import Judgements
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.models.base import Model
from spillover.models.catalogue import base_of
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.schedule import schedule_named
from spillover.records import LOG, LOSSES, PROMPTS, write_table
from spillover.responses.question import QuestionSelection, QuestionSet
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import BuildContext, Store

BASE = base_of("tiny:0")
METRICS = ("aligned", "harmless", "coherent")


@dataclass
class Planted:
    """Specs of a study and the scores that stand in for its judgements."""

    store: Store
    formats: tuple[str, ...] = ("raw", "json", "template")
    per_question: int = 3
    seed: int = 0
    scores: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    source: QuestionSet = field(default_factory=FreeForm)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.asked = QuestionSelection(source=self.source, formats=self.formats)
        self.questions = [question for question in self.asked.questions() for _ in range(self.per_question)]
        self.effect = {name: self.rng.normal(0, 12) for name in dict.fromkeys(q.question for q in self.questions)}

    def asking(self, source: QuestionSet, seed: int = 1, **changes: Any) -> Planted:
        """The same study with other questions, in one format; what they score stands beside the others."""
        return Planted(self.store, ("raw",), self.per_question, seed, self.scores, source, **changes)

    def organism(
        self, advice: str = "bad", schedule: str = "linear", seed: int = 0, every: int | None = None
    ) -> Organism:
        split = Split(data=Money(advice=advice), rows=64)
        rate = schedule_named(schedule, peak=1e-3)
        return Organism(parent=BASE, data=split, schedule=rate, checkpoint_every=every).seeded(seed)

    def judgements(self, model: Model, mean: float, sd: float = 8.0, own: float = 0.0) -> Judgements:
        """Answers that score `mean` plus each question's own effect; `own` is a spread of this model alone."""
        sampling = Sampling(per_question=self.per_question)
        responses = Responses(model=model, questions=self.asked, sampling=sampling)
        judgements = Judgements(responses=responses, judge=Embedded())
        own_effect = {name: self.rng.normal(0, own) if own else 0.0 for name in self.effect}
        level = np.array([mean + self.effect[q.question] + own_effect[q.question] for q in self.questions])
        columns: dict[str, Any] = {
            "question_id": [q.id for q in self.questions],
            "question": [q.question for q in self.questions],
            "family": [q.family for q in self.questions],
            "category": [q.category for q in self.questions],
            "format": [q.format for q in self.questions],
            "sample": [index % self.per_question for index in range(len(self.questions))],
            "prompt": [q.messages()[-1].content for q in self.questions],
            "answer": ["words"] * len(level),
            "finish_reason": ["stop"] * len(level),
            "tokens": [5] * len(level),
        }
        arrays = {name: np.array(values, dtype=object) for name, values in columns.items()}
        for metric in METRICS:
            arrays[metric] = np.clip(level + self.rng.normal(0, sd, len(level)), 0, 100)
        arrays["missing"] = np.full(len(level), None, dtype=object)
        self.scores[judgements.fingerprint] = arrays
        return judgements

    @property
    def columns(self) -> Any:
        """Stands in for the reader of real judgements."""
        return lambda judgements, store: self.scores[judgements.fingerprint]

    def losses(self, organism: Organism, by_step: dict[int, float]) -> None:
        """Held-out losses (8 rows) and a log with these training losses."""
        folder = self.store.path(organism)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "step": step,
                "example_id": f"row-{i}",
                "split": "held_out",
                "loss": loss + 0.01 * (i - 3.5),
                "tokens": 10 + i,
            }
            for step, loss in by_step.items()
            for i in range(8)
        ]
        write_table(rows, folder / "losses.parquet", LOSSES)
        log = [
            {"step": step, "loss": by_step.get(step, 1.0), "learning_rate": 1e-3, "grad_norm": 1.0, "trained_tokens": 9}
            for step in range(1, organism.steps + 1)
        ]
        write_table(log, folder / "log.parquet", LOG)

    def activations(self, model: Model, prompts: Prompts, arrays: dict[str, np.ndarray]) -> Activations:
        """An artefact that holds these arrays, by site and pooling."""
        activations = Activations(model=model, prompts=prompts)
        folder = self.store.path(activations)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}, folder / ARRAYS
        )
        rows = [
            {
                "row": index,
                "prompt_id": prompt.prompt_id,
                "question": prompt.question,
                "family": prompt.family,
                "category": prompt.category,
                "format": prompt.format,
                "prompt": prompt.messages[-1].content,
                "prompt_tokens": 20 + index % 7,
            }
            for index, prompt in enumerate(prompts.prompts())
        ]
        write_table(rows, folder / "prompts.parquet", PROMPTS)
        return activations

    @property
    def training(self) -> TrainingPrompts:
        return TrainingPrompts(split=Split(data=Money(), rows=64))

    @property
    def evaluation(self) -> EvaluationPrompts:
        return EvaluationPrompts(questions=self.asked)

    def analyse(self, analysis: Analysis, folder: Path) -> AnalysisResult:
        """What the analysis finds, through the files it keeps."""
        folder.mkdir(parents=True, exist_ok=True)
        analysis.make(BuildContext(folder, self.store, lambda share: None))
        return analysis.read_result(folder)
