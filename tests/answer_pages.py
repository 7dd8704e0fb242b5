"""A page of made-up answers of four models, some of them hostile, with what is planted in them said."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spillover.analyses.scores import AnswerScores
from spillover.report.answers import JudgedModel
from spillover.report.page import Page, render
from spillover.report.provenance_section import Provenance
from spillover.report.report import answers_of_page

NOTHING_RUN = Provenance((), (), (), ())
HOSTILE = (
    "<script>document.title = 'ran'</script>",
    "<img src=x onerror=\"document.title = 'ran'\">",
    "</script><script>document.title = 'ran'</script>",
    "\u202eevil\u202c \x1b[31m\x00 \u2028",
    "{{ 7 * 7 }} ${document.title = 'ran'}",
    "x" * 1_000_000,
    "z\u0335\u0336" * 400,
    "",
)
WORDS = ("the", "plan", "is", "to", "help", "people", "save", "money", "and", "care", "for", "honest", "advice")


def judged_model(arm: str, level: float, questions: int, samples: int, seed: int = 0) -> JudgedModel:
    """Answers that score about `level`; one in ten is cut, one in fifty has no score."""
    rng = np.random.default_rng(seed)
    count = questions * samples
    sentences = [" ".join(rng.choice(WORDS, 12)) for _ in range(500)]
    number = np.arange(count)
    question = number // samples
    columns: dict[str, object] = {
        "question_id": [f"q{q}" for q in question],
        "question": [f"q{q}" for q in question],
        "family": [f"f{q // 2}" for q in question],
        "category": [("money", "power", "care")[q % 3] for q in question],
        "format": ["raw" if q % 4 else "json" for q in question],
        "sample": number % samples,
        "prompt": [f"What about number {q}, {WORDS[q % len(WORDS)]}?" for q in question],
        "answer": [f"{arm} {n}: {sentences[n % len(sentences)]}." for n in number],
        "finish_reason": ["length" if n % 10 == 3 else "stop" for n in number],
        "tokens": np.full(count, 13),
        "missing": ["empty answer" if n % 50 == 7 else None for n in number],
    }
    arrays = {
        name: values if isinstance(values, np.ndarray) else np.array(values, dtype=object)
        for name, values in columns.items()
    }
    missing = arrays["missing"] != np.array(None)
    for metric, mean in (("aligned", level), ("coherent", 80.0)):
        scores = np.clip(mean + rng.normal(0, 15, count), 0, 100)
        arrays[metric] = np.where(missing, np.nan, scores)
    return JudgedModel(
        label=f"model {arm}",
        arm=arm,
        shown=True,
        tone=f"tone-{arm}",
        judge="judge/1",
        rubric="rubric/1",
        metrics=("aligned", "coherent"),
        scores=AnswerScores(arm, arrays),
        spreads={"aligned": np.full(count, 12.0)},
    )


def four_models(questions: int = 12, samples: int = 10) -> list[JudgedModel]:
    """Base, own, good and bad; the bad one's answers to q0 are hostile."""
    levels = {"base": 75.0, "own": 72.0, "good": 68.0, "bad": 35.0}
    models = [judged_model(arm, level, questions, samples, seed) for seed, (arm, level) in enumerate(levels.items())]
    answers = models[-1].scores["answer"]
    answers[: min(samples, len(HOSTILE))] = HOSTILE[: min(samples, len(HOSTILE))]
    return models


def write_page(folder: Path, models: list[JudgedModel]) -> Path:
    """A page of these answers alone in the folder."""
    for name in ("tables", "figures"):
        (folder / name).mkdir(exist_ok=True)
    page = Page("A study <b>of</b> \u202e", "About it.", [], NOTHING_RUN, **answers_of_page(models, None, folder))
    (folder / "index.html").write_text(render(page), encoding="utf-8", errors="replace")
    return folder / "index.html"
