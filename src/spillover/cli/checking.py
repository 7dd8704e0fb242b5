"""`spillover check`: whether a model works in every stage, a line a check; and the notes of `run` on a new model."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from spillover.interactive.text import one_line, say
from spillover.store import Artefact

if TYPE_CHECKING:
    from spillover.models.base import Model


def check_model(text: str, parent: str | None, as_json: bool, precision: str | None = None) -> bool:
    """Look at the model that a user names; whether all is well. `parent`: the base of an organism of others."""
    from spillover.checks.model_check import Finding, look_at
    from spillover.models.precision import dtype_named
    from spillover.models.sources import model_cache

    dtype = None if precision is None else dtype_named(precision)
    try:
        model = _named(text, parent)
    except ValueError as error:
        findings = iter([Finding("files", False, str(error))])
    else:
        findings = look_at(model, model_cache(), precision=dtype)
    every = []
    for finding in findings:
        every.append(finding)
        if not as_json:
            print(f"{'ok ' if finding.ok else 'NOT'}  {finding.check:<18} {one_line(finding.detail)}", flush=True)
    wrong = sum(not finding.ok for finding in every)
    if as_json:
        print(json.dumps([asdict(finding) for finding in every], indent=1, ensure_ascii=False))
    else:
        print(f"{len(every)} checks, {wrong or 'none'} not ok: {one_line(text)}")
    return not wrong


def note_new_models(study: Artefact) -> None:
    """Say what the quick checks find wrong with models that are met for the first time."""
    from spillover.checks.model_check import first_looks

    for model, findings in first_looks(study):
        for finding in findings:
            if not finding.ok:
                say(f"note: {model.label()}, {finding.check}: {finding.detail} (`spillover check` looks at all of it)")


def _named(text: str, parent: str | None) -> Model:
    from spillover.models.catalogue import base_of
    from spillover.organisms.published import published_organism

    return base_of(text) if parent is None else published_organism(text, base_of(parent))
