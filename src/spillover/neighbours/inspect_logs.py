"""Judged answers as logs of inspect (UK AISI), written by inspect's own classes: `inspect view` opens them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spillover import __version__
from spillover.report.answers import JudgedModel, judged_models
from spillover.report.visible import visible_text
from spillover.store import Artefact, Store

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample, EvalScore
    from inspect_ai.scorer import Score

TASK = "spillover"
INSTALL = "inspect is not installed: pip install 'spillover[inspect]'"


def write_inspect_logs(study: Artefact, store: Store, folder: Path) -> Iterator[Path]:
    """A log of every judged model in the study, `MODEL_FINGERPRINT.eval`; each path as it is written.

    A sample is an answer: question id as its id, sample number as its epoch (from 1), a score of each metric, whose
    metadata has judge, rubric, the judge's spread and why a score is missing. A missing score is NaN, never 0.
    """
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise ValueError(INSTALL) from None
    models = judged_models(study, store)
    if not models:
        raise ValueError(f"{study.summary()} holds no judged answers: name a report, an analysis or judged answers")
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        name = re.sub(r"[^\w.-]+", "-", model.label).strip("-")
        path = folder / f"{name}_{study.fingerprint[:8]}.eval"
        write_eval_log(inspect_log(model, study), str(path))
        yield path


def inspect_log(model: JudgedModel, study: Artefact) -> EvalLog:
    """The answers of one model as a log."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalResults, EvalSpec, EvalStats

    samples = [_sample(model, row) for row in range(len(model.scores))]
    questions = model.scores.questions("question_id")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"arm": model.arm or None, "judge": model.judge, "rubric": model.rubric, "study": study.fingerprint}
    spec = EvalSpec(
        created=now,
        task=TASK,
        task_description=visible_text(study.summary()),
        dataset=EvalDataset(name="questions", samples=len(questions), sample_ids=list(questions)),
        model=f"spillover/{model.label}",
        config=EvalConfig(epochs=max((sample.epoch for sample in samples), default=1)),
        packages={"spillover": __version__},
        metadata=about,
    )
    results = EvalResults(
        total_samples=len(samples),
        completed_samples=len(samples),
        scores=[_summary(model, metric) for metric in model.metrics],
    )
    stats = EvalStats(started_at=now, completed_at=now)
    return EvalLog(status="success", eval=spec, results=results, stats=stats, samples=samples)


def _sample(model: JudgedModel, row: int) -> EvalSample:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput

    scores = model.scores
    prompt, answer = (visible_text(scores[name][row] or "") for name in ("prompt", "answer"))
    cut = scores["finish_reason"][row] == "length"
    output = ModelOutput.from_content(model.label, answer, stop_reason="max_tokens" if cut else "stop")
    about = {name: scores[name][row] for name in ("question", "family", "category", "format", "finish_reason")}
    number = scores["sample"][row]
    return EvalSample(
        id=str(scores["question_id"][row]),
        epoch=1 + int(number if number == number else 0),
        input=prompt,
        target="",
        messages=[ChatMessageUser(content=prompt), ChatMessageAssistant(content=answer)],
        output=output,
        scores={metric: _score(model, metric, row) for metric in model.metrics},
        metadata=about,
    )


def _score(model: JudgedModel, metric: str, row: int) -> Score:
    from inspect_ai.scorer import Score

    value, spread = float(model.scores[metric][row]), model.spreads.get(metric)
    about: dict[str, object] = {"judge": model.judge, "rubric": model.rubric}
    if spread is not None and math.isfinite(spread[row]):
        about["spread"] = float(spread[row])
    reason = model.scores["missing"][row] if math.isnan(value) else None
    return Score(value=value, explanation=None if reason is None else f"not scored: {reason}", metadata=about)


def _summary(model: JudgedModel, metric: str) -> EvalScore:
    from inspect_ai.log import EvalMetric, EvalScore

    values: Sequence[float] = model.scores[metric][np.isfinite(model.scores[metric])].tolist()
    mean = float(np.mean(values)) if values else math.nan
    metrics = {"mean": EvalMetric(name="mean", value=mean)}
    missing = len(model.scores) - len(values)
    return EvalScore(name=metric, scorer=metric, scored_samples=len(values), unscored_samples=missing, metrics=metrics)
