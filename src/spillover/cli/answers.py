"""`spillover answers`: what a model said, read in the terminal, the worst first where it was judged."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from spillover.interactive.text import one_line, plain, width
from spillover.records import read_table

if TYPE_CHECKING:
    from spillover.interactive.study_store import StudyStore
    from spillover.judgements.judgements import Judgements
    from spillover.responses.responses import Responses

LONGEST = 1200  # characters of a text that are shown


@dataclass(frozen=True)
class AnswerAsRead:
    """An answer with whatever it was given for it."""

    model: str
    step: int | None
    questions: str
    question_id: str
    sample: int
    prompt: str
    answer: str
    thought: str | None
    judge: str | None
    scores: Mapping[str, float | None]
    missing: str | None


def show_answers(
    store: StudyStore,
    model: str,
    worst: int | None,
    count: int,
    questions: str | None,
    judge: str | None,
    metric: str,
    as_json: bool,
) -> None:
    """Print answers of the models whose name holds `model` (or of a set by its fingerprint): the first `count` of each
    set, or the `worst` by a metric over all of them."""
    sets = _judged(store, model, questions, judge)
    by_set = [_scored_answers(scored, store) for scored in sets]
    if not by_set:
        if worst is not None:
            raise ValueError(f"no answers of {model!r} are judged in {store.root}: leave --worst out to read them")
        by_set = [_answers(responses, store) for responses in _asked(store, model, questions)]
    answers = [answer for of_set in by_set for answer in of_set]
    if not answers:
        raise ValueError(f"no answers of {model!r} in {store.root}; `spillover ls Responses` lists what is there")
    first = [answer for of_set in by_set for answer in of_set[:count]]
    shown = first if worst is None else _worst(answers, metric, worst)
    if as_json:
        print(json.dumps([asdict(answer) for answer in shown], indent=1, ensure_ascii=False))
        return
    print("\n\n".join(_in_words(answer) for answer in shown))
    print(f"\n{len(shown)} of {len(answers)} answers" + (f", the lowest by {metric}" if worst is not None else ""))


def _judged(store: StudyStore, model: str, questions: str | None, judge: str | None) -> list[Judgements]:
    everything = store.find("Judgements", questions=questions, judge=judge)
    return [scored for scored in everything if _means(scored, scored.responses, model)]


def _asked(store: StudyStore, model: str, questions: str | None) -> list[Responses]:
    return [asked for asked in store.find("Responses", questions=questions) if _means(asked, asked, model)]


def _means(artefact: Judgements | Responses, asked: Responses, text: str) -> bool:
    """Whether a user's word is the name of the model that answered, or the beginning of a fingerprint."""
    names = (asked.model.label(), asked.model.base().name)
    if any(text.lower() in name.lower() for name in names):
        return True
    prints = (artefact.fingerprint, asked.fingerprint, asked.model.fingerprint)
    return len(text) >= 4 and any(name.startswith(text.lower()) for name in prints)


def _answers(asked: Responses, store: StudyStore) -> list[AnswerAsRead]:
    return [_shown(row, None, {}, None) for row in read_table(store.path(asked) / "responses.parquet").to_pylist()]


def _scored_answers(scored: Judgements, store: StudyStore) -> list[AnswerAsRead]:
    rows = read_table(store.path(scored) / "judgements.parquet").to_pylist()
    scores: dict[tuple[str, int], dict[str, float | None]] = {}
    reasons: dict[tuple[str, int], str] = {}
    for row in rows:
        key = row["question_id"], row["sample"]
        scores.setdefault(key, {})[row["metric"]] = row["score"]
        if row["missing"]:
            reasons[key] = row["missing"]
    answers = read_table(store.path(scored.responses) / "responses.parquet").to_pylist()
    keys = [(row["question_id"], row["sample"]) for row in answers]
    return [
        _shown(row, scored.judge_name, scores.get(key, {}), reasons.get(key))
        for key, row in zip(keys, answers, strict=True)
    ]


def _shown(row: Mapping, judge: str | None, scores: Mapping[str, float | None], missing: str | None) -> AnswerAsRead:
    return AnswerAsRead(
        *(row["model"], row["step"], row["questions"], row["question_id"], row["sample"], row["prompt"], row["answer"]),
        *(row.get("thought"), judge, scores, missing),
    )


def _worst(answers: list[AnswerAsRead], metric: str, count: int) -> list[AnswerAsRead]:
    """The answers with the lowest scores; those without one are left out."""
    metrics = sorted({name for answer in answers for name in answer.scores})
    if metric not in metrics:
        raise ValueError(f"no score {metric!r} was given; there are {', '.join(metrics)} (--metric)")
    scored = [answer for answer in answers if answer.scores.get(metric) is not None]
    return sorted(scored, key=lambda answer: answer.scores[metric] or 0.0)[:count]


def _in_words(answer: AnswerAsRead) -> str:
    scores = ", ".join(f"{name} {'-' if score is None else f'{score:.0f}'}" for name, score in answer.scores.items())
    step = "" if answer.step is None else f", step {answer.step}"
    head = f"{answer.model}{step} · {answer.question_id} #{answer.sample}"
    lines = [one_line(head), one_line(f"{scores}{f' ({answer.missing})' if answer.missing else ''}")]
    lines += _wrapped("asked: ", answer.prompt)
    lines += _wrapped("thought: ", answer.thought) if answer.thought else []
    lines += _wrapped("answer: ", answer.answer or "(nothing)")
    return "\n".join(line for line in lines if line)


def _wrapped(lead: str, text: str) -> list[str]:
    text = plain(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")
    lines = []
    for number, line in enumerate(text.splitlines() or [""]):
        begin = f"  {lead}" if number == 0 else "    "
        lines += textwrap.wrap(line, width(), initial_indent=begin, subsequent_indent="    ") or [begin.rstrip()]
    return lines
