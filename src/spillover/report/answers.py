"""All judged answers of a study as the page carries them: whose they are, which stand side by side, packed rows.

The rows are columns of codes and texts in one JSON object, gzipped and in base64, which the page's script unpacks. What
does not fit is shortened, answer by answer, and the page says so; the table `answers` beside the page has everything.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from spillover.analyses.effect import Effect
from spillover.analyses.examples import Examples
from spillover.analyses.priors import Priors
from spillover.analyses.scores import AnswerScores, read_scores
from spillover.judgements.judgements import Judgements
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.organisms.organism import Checkpoint, Organism
from spillover.records import column_names, read_table, write_csv, write_table
from spillover.report.visible import visible_text
from spillover.spec import Spec, walk
from spillover.store import Store

SIDE_BY_SIDE = 4  # models at most
ARMS = ("base", "own", "good", "bad")  # in the order in which they stand
SPARE_TONES = 8  # colours of models that are in no arm
BUDGET = 13_000_000  # bytes of gzipped rows: with base64 and the rest the page stays under 20 MB
LONGEST = (20_000, 8_000, 4_000, 2_000, 1_400, 1_000, 700, 500, 350, 250, 180, 120)  # letters of an answer on the page
TRIED = 2_000  # rows that tell how well the rows are compressed


@dataclass(frozen=True)
class JudgedModel:
    """A model's judged answers on the page: `arm` is base, bad, good, own or empty; `shown`: stands side by side."""

    label: str
    arm: str
    shown: bool
    tone: str  # the class of its colour, the same in everything that the page draws
    judge: str
    rubric: str
    metrics: tuple[str, ...]
    scores: AnswerScores
    spreads: Mapping[str, np.ndarray]  # the judge's own standard deviation by metric, points; NaN where it gives none


@dataclass(frozen=True)
class PackedAnswers:
    """The rows for the script, and what was left out of them."""

    data: str = field(repr=False)  # base64 of gzipped JSON
    carried: int  # answers in it
    total: int
    longest: int  # letters of an answer; longer ones are cut here
    shortened: int  # answers that were


def judged_models(study: Spec, store: Store) -> list[JudgedModel]:
    """Every finished set of judged answers in the study, those that stand side by side first; none of means alone."""
    scored = [
        part for part in walk(study) if isinstance(part, ScoredAnswers) and not part.by_question and store.has(part)
    ]
    arms = _arms(study)
    shown = [part for part in _side_by_side(study, arms) if part in scored][:SIDE_BY_SIDE]
    ordered = list(dict.fromkeys((*shown, *(part for part in scored if part in arms), *scored)))
    judges = len({part.judge_name for part in ordered})
    names = [f"{part.subject} ({part.judge_name})" if judges > 1 else part.subject for part in ordered]
    repeated = {name for name, count in Counter(names).items() if count > 1}
    models: list[JudgedModel] = []
    for part, name in zip(ordered, names, strict=True):
        arm, scores = arms.get(part, _arm_of_run(part, arms)), read_scores(part, store, single=True)
        models.append(
            JudgedModel(
                label=f"{name} #{part.fingerprint[:4]}" if name in repeated else name,
                arm=arm,
                shown=part in shown,
                tone=f"tone-{arm or len(models) % SPARE_TONES}",
                judge=part.judge_name,
                rubric=part.rubric_name,
                metrics=part.metrics,
                scores=scores,
                spreads=_spreads(part, scores, store),
            )
        )
    return models


def answer_table(models: Sequence[JudgedModel]) -> pa.Table:
    """One row an answer with everything that is known of it, in the order of the page's rows."""
    metrics = _metrics(models)
    columns: dict[str, list[object]] = {"model": [], "arm": []}
    names = [*_TEXTS, "sample", "tokens", "missing"]
    for model in models:
        count = len(model.scores)
        columns["model"] += [model.label] * count
        columns["arm"] += [model.arm or None] * count
        for name in names:
            columns.setdefault(name, []).extend(model.scores[name].tolist())
        for metric in metrics:
            columns.setdefault(metric, []).extend(_column(model, metric).tolist())
            columns.setdefault(f"{metric}_spread", []).extend(_spread(model, metric).tolist())
    types = dict.fromkeys((*_TEXTS, "missing", "model", "arm"), pa.string())
    arrays = {name: pa.array(values, types.get(name), from_pandas=True) for name, values in columns.items()}
    return pa.table({name: array for name, array in arrays.items() if array.null_count < len(array) or name in _TEXTS})


def packed(models: Sequence[JudgedModel], budget: int = BUDGET) -> PackedAnswers:
    """The rows of all models in at most `budget` bytes of gzip: answers as long as fits, then fewer to a question."""
    total = sum(len(model.scores) for model in models)
    kept, most = list(models), _samples(models)
    lengths = iter(LONGEST)
    longest = next(lengths)
    while _guess(kept, longest) > budget:
        shorter = next(lengths, None)
        if shorter is not None:
            longest = shorter
        elif most > 1:
            most = (most + 1) // 2
            kept = [_part(model, np.nan_to_num(model.scores["sample"].astype(float)) < most) for model in models]
        else:
            break
    content = gzip.compress(_json(kept, longest), 6, mtime=0)
    texts = (text for model in kept for text in model.scores["answer"].tolist())
    shortened = sum(len(text or "") > longest for text in texts)
    carried = sum(len(model.scores) for model in kept)
    return PackedAnswers(base64.b64encode(content).decode(), carried, total, longest, shortened)


_TEXTS = ("question_id", "question", "family", "category", "format", "prompt", "answer", "finish_reason")


def _arms(study: Spec) -> dict[ScoredAnswers, str]:
    """Which arm the models of an Effect are; those of the first one count."""
    for part in walk(study):
        if isinstance(part, Effect):
            sides = (("base", (part.before,)), ("bad", part.bad), ("good", part.good), ("own", part.own))
            return {run: arm for arm, runs in sides for run in runs}
    return {}


def arms_by_run(study: Spec) -> dict[str, str]:
    """The arm of each training run that an Effect names, by the run's label; no two runs of one label."""
    arms: dict[str, str] = {}
    for scored, arm in _arms(study).items():
        organism = _organism(scored)
        if isinstance(organism, Organism):
            arms.setdefault(organism.label(), arm)
    return arms


def _side_by_side(study: Spec, arms: Mapping[ScoredAnswers, str]) -> list[ScoredAnswers]:
    """The first run of each arm; without arms those that another analysis puts side by side, or the first there are."""
    if arms:
        first = {arm: next((run for run, of in arms.items() if of == arm), None) for arm in ARMS}
        return [run for run in first.values() if run is not None]
    for part in walk(study):
        if isinstance(part, Examples):
            return list(part.judgements)
        if isinstance(part, Priors):
            return [part.before, *part.after]
    return [part for part in walk(study) if isinstance(part, ScoredAnswers) and not part.by_question]


def _arm_of_run(scored: ScoredAnswers, arms: Mapping[ScoredAnswers, str]) -> str:
    """The arm of a checkpoint whose organism's last one is in an arm; empty where there is none."""
    organism = _organism(scored)
    if organism is None:
        return ""
    return next((arm for run, arm in arms.items() if _organism(run) == organism), "")


def _organism(scored: ScoredAnswers) -> Spec | None:
    model = scored.responses.model if isinstance(scored, Judgements) else None
    return model.organism if isinstance(model, Checkpoint) else None


def _spreads(scored: ScoredAnswers, scores: AnswerScores, store: Store) -> dict[str, np.ndarray]:
    """The judge's own spread of each score by metric, in the answers' order; nothing where the files have none."""
    path = store.path(scored) / "judgements.parquet"
    if not path.is_file() or "spread" not in column_names(path):
        return {}
    rows = read_table(path, ["question_id", "sample", "metric", "spread"])
    keys = list(zip(scores["question_id"].tolist(), scores["sample"].tolist(), strict=True))
    spreads = {}
    for metric in scored.metrics:
        of_metric = rows.filter(pa.array(rows["metric"].to_numpy() == metric))
        by_key = dict(zip(_keys(of_metric), of_metric["spread"].to_numpy().tolist(), strict=True))
        values = np.array([by_key.get(key, np.nan) for key in keys], dtype=np.float64)
        if np.isfinite(values).any():
            spreads[metric] = values
    return spreads


def _keys(rows: pa.Table) -> list[tuple[str, int]]:
    return list(zip(rows["question_id"].to_pylist(), rows["sample"].to_pylist(), strict=True))


def _metrics(models: Sequence[JudgedModel]) -> list[str]:
    """What any of the models is scored on."""
    return list(dict.fromkeys(metric for model in models for metric in model.metrics))


def _column(model: JudgedModel, metric: str) -> np.ndarray:
    missing = np.full(len(model.scores), np.nan)
    return np.asarray(model.scores.columns.get(metric, missing), dtype=np.float64)


def _spread(model: JudgedModel, metric: str) -> np.ndarray:
    return model.spreads.get(metric, np.full(len(model.scores), np.nan))


def _samples(models: Sequence[JudgedModel]) -> int:
    largest = (np.nan_to_num(model.scores["sample"].astype(float)).max(initial=0) for model in models)
    return 1 + int(max(largest, default=0))


def _part(model: JudgedModel, inside: np.ndarray) -> JudgedModel:
    spreads = {name: values[inside] for name, values in model.spreads.items()}
    return replace(model, scores=model.scores.where(inside), spreads=spreads)


def _guess(models: Sequence[JudgedModel], longest: int) -> float:
    """About how many bytes the rows take, from evenly spaced rows of each model, compressed."""
    rows = sum(len(model.scores) for model in models)
    step = max(1, rows // TRIED)
    some = [_part(model, np.arange(len(model.scores)) % step == 0) for model in models]
    taken = sum(len(model.scores) for model in some)
    return len(gzip.compress(_json(some, longest), 6)) * rows / max(taken, 1)


def _json(models: Sequence[JudgedModel], longest: int) -> bytes:
    """The rows as one JSON object: names once, then a column each; scores to a tenth of a point."""
    questions, prompts, finishes, reasons = Codes(), Codes(), Codes(), Codes()
    about: list[list[str]] = []
    rows: dict[str, list[object]] = {name: [] for name in _ROWS}
    metrics = _metrics(models)
    scores: dict[str, list[object]] = {metric: [] for metric in metrics}
    spreads: dict[str, list[object]] = {metric: [] for metric in metrics}
    for number, model in enumerate(models):
        column = {name: model.scores[name].tolist() for name in (*_TEXTS, "sample", "tokens", "missing")}
        for key in zip(*(column[name] for name in _QUESTION), strict=True):
            if questions.add(key) == len(about):
                about.append([visible_text("" if part is None else part) for part in key])
            rows["question"].append(questions.codes[key])
        rows["model"] += [number] * len(model.scores)
        rows["prompt"] += [prompts.add(visible_text(text or "")) for text in column["prompt"]]
        rows["finish"] += [finishes.add(text or "") for text in column["finish_reason"]]
        rows["missing"] += [reasons.add(visible_text(text or "")) for text in column["missing"]]
        rows["sample"] += [_whole(value) for value in column["sample"]]
        rows["tokens"] += [_whole(value) for value in column["tokens"]]
        rows["answer"] += [visible_text((text or "")[:longest]) for text in column["answer"]]
        rows["cut_here"] += [int(len(text or "") > longest) for text in column["answer"]]
        for metric in metrics:
            scores[metric] += _tenths(_column(model, metric))
            spreads[metric] += _tenths(_spread(model, metric))
    content = {
        "models": [
            {"name": visible_text(model.label), "arm": model.arm, "tone": model.tone, "shown": model.shown}
            for model in models
        ],
        "questions": [dict(zip(_QUESTION, row, strict=True)) for row in about],
        "prompts": list(prompts.codes),
        "finishes": list(finishes.codes),
        "reasons": list(reasons.codes),
        "rows": rows,
        "scores": scores,
        "spreads": {name: values for name, values in spreads.items() if any(value is not None for value in values)},
    }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


_QUESTION = ("question_id", "question", "family", "category", "format")
_ROWS = ("model", "question", "prompt", "sample", "finish", "missing", "tokens", "answer", "cut_here")


class Codes:
    """Numbers for values, in the order in which they come first."""

    def __init__(self) -> None:
        self.codes: dict[object, int] = {}

    def add(self, value: object) -> int:
        """The value's number."""
        return self.codes.setdefault(value, len(self.codes))


def _tenths(values: Iterable[float]) -> list[object]:
    return [None if value != value else round(float(value), 1) for value in values]


def _whole(value: float | None) -> int | None:
    return None if value is None or value != value else int(value)


def write_answers(models: Sequence[JudgedModel], folder: Path) -> None:
    """`answers.csv` and `answers.parquet` in the folder: every answer whole."""
    content = answer_table(models)
    write_csv(content, folder / "answers.csv")
    write_table(content, folder / "answers.parquet")
