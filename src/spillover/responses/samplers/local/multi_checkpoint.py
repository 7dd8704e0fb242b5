"""Checkpoints of one base that a study asks the same way are asked in one batch, where each alone would leave it empty.

Answers do not depend on what shares their batch, so this changes time alone. The first of them to be made keeps the
answers of the others in their `unfinished` folders; they take them from there when their turn comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from spillover.models.forward.load_models import load_together, open_model
from spillover.records import RESPONSES, write_table
from spillover.responses.responses import Responses
from spillover.responses.samplers.local.answering import answer
from spillover.store import BuildContext, Store, file_sha256

LOOK_AHEAD = 256  # sets of answers ahead that are looked at: in a sweep of thousands, a look at each takes time
TABLE, ABOUT = "responses.parquet", "answered.json"


def make(spec: Responses, context: BuildContext, rows: int) -> dict[str, Any]:
    """Write the answers of `spec` into its folder; facts for the manifest."""
    kept = _kept(spec, context)
    if kept is not None:
        return kept
    with contextlib.ExitStack() as held:
        others = [one for one in _alike(spec, context, rows) if held.enter_context(_alone(one, context.store))]
        opened = load_together([one.model for one in (spec, *others)], context.store, spec.sampling.dtype)
        if opened is None:
            others, opened = [], open_model(spec.model, context.store, spec.sampling.dtype)
        (answers, facts), *rest = answer((spec, *others), opened, rows, context.progress)
        for other, (found, about) in zip(others, rest, strict=True):
            _keep(other, found, about | {"asked_with": spec.fingerprint, "work_share": 0.0}, context.store)
    write_table(answers, context.folder / TABLE, RESPONSES)
    if others:
        share = 1 + sum(other.cost().units for other in others) / spec.cost().units
        facts |= {"asked_with": [other.fingerprint for other in others], "work_share": share}
    return facts


def _alike(spec: Responses, context: BuildContext, rows: int) -> list[Responses]:
    """Those ahead that can be asked with `spec`: made from what is there, asked alike, and few enough for one batch."""
    found, room = [], rows - _rows(spec)
    if room < 1:
        return []
    for one in islice((one for one in context.upcoming if isinstance(one, Responses)), LOOK_AHEAD):
        if (
            one != spec
            and one.model.base() == spec.model.base()
            and one.sampling == spec.sampling
            and one.sampler == spec.sampler
            and one.prompting == spec.prompting
            and _rows(one) <= room
            and all(context.store.has(need) for need in one.needs())
            and not context.store.unfinished(one).exists()
        ):
            found.append(one)
            room -= _rows(one)
    return found


def _rows(spec: Responses) -> int:
    return len(spec.questions.questions()) * spec.sampling.per_question


@contextlib.contextmanager
def _alone(spec: Responses, store: Store) -> Any:
    """Whether no other process makes it, and none can while this lasts."""
    with store.lock_if_free(spec) as free:
        yield free and not store.path(spec).exists()


def _keep(spec: Responses, answers: Sequence[dict[str, Any]], facts: dict[str, Any], store: Store) -> None:
    folder = store.unfinished(spec)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_table(answers, folder / TABLE, RESPONSES)
    about = {"facts": facts, "needs": store.digests(spec), "sha256": file_sha256(folder / TABLE)}
    path = folder / f"{ABOUT}.new"
    path.write_text(json.dumps(about))
    os.replace(path, folder / ABOUT)


def _kept(spec: Responses, context: BuildContext) -> dict[str, Any] | None:
    """The facts of answers that were kept for `spec`, once they are in its folder; None where none hold any more."""
    folder: Path = context.store.unfinished(spec)
    try:
        about = json.loads((folder / ABOUT).read_text())
        facts: dict[str, Any] = about["facts"]
        whole = about["sha256"] == file_sha256(folder / TABLE) and about["needs"] == context.store.digests(spec)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole:
        return None
    shutil.copyfile(folder / TABLE, context.folder / TABLE)
    return facts
