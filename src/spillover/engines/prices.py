"""What a study still takes, before it starts: artefacts, tokens, time and disk by kind, and what paid judges will cost.

Tokens to write are at most those that are asked for, and paid judges are priced as if every answer were that long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spillover.engines.estimates import of_like_size
from spillover.engines.listener import Step
from spillover.judgements.judge import Answer, Batch
from spillover.judgements.judgements import Judgements
from spillover.store import Store

LETTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Line:
    """One kind of artefact in a study.

    tokens: that go through a model to make what is missing, about; 0 where none do. bytes: on disk, about; None where
    the store has none of the kind to go by.
    """

    kind: str
    missing: int
    whole: int
    tokens: float
    does: str
    seconds: float
    bytes: float | None


def by_kind(steps: Sequence[Step], store: Store) -> list[Line]:
    """A line for each kind that has something missing, in the order in which they are made."""
    sizes = _sizes(store)
    lines = []
    for kind in dict.fromkeys(step.artefact.kind for step in steps):
        of_kind = [step for step in steps if step.artefact.kind == kind]
        todo = [step for step in of_kind if step.state != "there"]
        if todo:
            tokens, seconds = sum(step.cost.tokens for step in todo), sum(step.seconds for step in todo)
            use = todo[0].cost.token_use
            lines.append(Line(kind, len(todo), len(of_kind), tokens, use, seconds, _disk(todo, sizes)))
    return lines


def judging(steps: Sequence[Step], store: Store) -> list[str]:
    """What each paid judge will take, a line for people each; answers that are not there yet at their longest."""
    by_judge: dict[str, list[Judgements]] = {}
    for step in steps:
        if step.state != "there" and isinstance(step.artefact, Judgements):
            by_judge.setdefault(step.artefact.judge.fingerprint, []).append(step.artefact)
    lines = []
    for judgements in by_judge.values():
        judge = judgements[0].judge
        if (estimate := judge.estimate(_longest_answers(judgements), store)) is not None:
            lines.append(f"{judge.name}: {estimate}")
    return lines


def _longest_answers(judgements: Sequence[Judgements]) -> Iterator[Batch]:
    """An answer for each that is to be judged, of the longest length, unlike all others; once for all asked alike."""
    alike = Counter((scores.responses.questions, scores.responses.sampling) for scores in judgements)
    for (asked, sampling), times in alike.items():
        about = f"{asked.fingerprint} {sampling.fingerprint}"
        answers = [
            Answer(
                question.messages(sample)[-1].content,
                f"{about} {question.id} {sample} ".ljust(LETTERS_PER_TOKEN * sampling.max_tokens, "x"),
            )
            for question in asked.questions()
            for sample in range(sampling.per_question)
        ]
        yield Batch(answers, times)


def _disk(todo: Sequence[Step], sizes: dict[str, list[tuple[float, float]]]) -> float | None:
    """Bytes of what is missing, by those of its kind that are there and about as much work; None where one has none."""
    total = 0.0
    for step in todo:
        alike = [size for units, size in sizes.get(step.artefact.kind, ()) if of_like_size(step.cost.units, units)]
        if not alike:
            return None
        total += sum(alike) / len(alike)
    return total


def _sizes(store: Store) -> dict[str, list[tuple[float, float]]]:
    """Units of work and bytes on disk of the artefacts that the store has, by kind."""
    sizes: dict[str, list[tuple[float, float]]] = {}
    for _, manifest in store.manifests():
        size = sum(file["bytes"] for file in manifest["files"].values())
        sizes.setdefault(manifest["spec"]["kind"], []).append((manifest["units"], size))
    return sizes
