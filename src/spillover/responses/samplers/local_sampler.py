"""The project's own sampling loop, in this process: answers that depend on their key alone, bit for bit.

Checkpoints of one base that a study asks the same way are asked in one batch, where each alone would leave it empty.
Answers do not depend on what shares their batch, so this changes time alone. The first of them to be made keeps the
answers of the others in their `unfinished` folders; they take them from there when their turn comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from spillover.manifest import file_sha256
from spillover.responses.sampler import TABLE, AnswerSet, SampledAnswer, Sampler, write_responses
from spillover.store import BuildContext, Store

ROWS = 128  # answers written at once; changes speed and memory, not answers
TOKENS_PER_SECOND = 500  # measured: 135M parameters, float32, two cores with AVX2
LOOK_AHEAD = 256  # sets of answers ahead that are looked at: in a sweep of thousands, a look at each takes time
FACTS = "answered.json"


class LocalSampler(Sampler):
    """Spillover's own sampling loop, in this process."""

    def seconds(self, asked: AnswerSet, tokens: float) -> float:
        return tokens / TOKENS_PER_SECOND

    def make(self, asked: AnswerSet, context: BuildContext) -> dict[str, object]:
        from spillover.models.forward.load_models import load_alone, load_together
        from spillover.responses.samplers import decoding

        store, dtype = context.store, asked.sampling.precision
        if (facts := _take_kept(asked, context)) is not None:
            return facts
        with contextlib.ExitStack() as locks:
            others = [other for other in _alike(asked, context) if locks.enter_context(_ours_to_make(other, store))]
            models = load_together([asked.model, *(other.model for other in others)], store, dtype)
            if models is None:
                others, models = [], load_alone(asked.model, store, dtype)
            (answers, *rest), facts = decoding.answer([asked, *others], models, ROWS, context.progress)
            for other, answers_of_other in zip(others, rest, strict=True):
                _keep(other, answers_of_other, facts | {"asked_with": asked.fingerprint, "work_share": 0.0}, store)
        if others:
            share = 1 + sum(other.cost().units for other in others) / asked.cost().units
            facts |= {"asked_with": [other.fingerprint for other in others], "work_share": share}
        return write_responses(asked, answers, context.folder) | facts


def _alike(asked: AnswerSet, context: BuildContext) -> list[AnswerSet]:
    """Those ahead that can be asked with it: made from what is there, asked alike, and few enough for one batch."""
    alike, room = [], ROWS - asked.count
    if room < 1:
        return []
    for other in islice((spec for spec in context.upcoming if isinstance(spec, AnswerSet)), LOOK_AHEAD):
        if (
            other != asked
            and other.model.base() == asked.model.base()
            and other.sampling == asked.sampling
            and other.sampler == asked.sampler
            and other.prompting == asked.prompting
            and other.count <= room
            and all(context.store.has(need) for need in other.needs())
            and not context.store.unfinished(other).exists()
        ):
            alike.append(other)
            room -= other.count
    return alike


@contextlib.contextmanager
def _ours_to_make(asked: AnswerSet, store: Store) -> Iterator[bool]:
    """Whether no other process makes it, and none can while this lasts."""
    with store.lock_if_free(asked) as free:
        yield free and not store.path(asked).exists()


def _keep(asked: AnswerSet, answers: Sequence[SampledAnswer], facts: dict[str, object], store: Store) -> None:
    """Write what `_take_kept` takes when its turn comes."""
    folder = store.unfinished(asked)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = write_responses(asked, answers, folder) | facts
    content = {"facts": facts, "needs": store.digests(asked), "sha256": file_sha256(folder / TABLE)}
    new = folder / f"{FACTS}.new"
    new.write_text(json.dumps(content))
    os.replace(new, folder / FACTS)


def _take_kept(asked: AnswerSet, context: BuildContext) -> dict[str, object] | None:
    """The facts of answers that were kept, once they are in their folder; None where none hold any more."""
    folder: Path = context.store.unfinished(asked)
    try:
        content = json.loads((folder / FACTS).read_text())
        facts: dict[str, object] = content["facts"]
        if content["sha256"] != file_sha256(folder / TABLE) or content["needs"] != context.store.digests(asked):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    shutil.copyfile(folder / TABLE, context.folder / TABLE)
    return facts
