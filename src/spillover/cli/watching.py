"""`spillover watch`: the page of a study, written again and again while another process makes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from spillover.interactive.text import say
from spillover.store import Artefact, Store

EVERY = 30  # seconds between two looks


def watch_study(study: Artefact, root: Path, out: Path, finish: Callable[[], None], every: int = EVERY) -> None:
    """Write what is finished of the study into `out` until it is made; then `finish`, which puts its own page there."""
    from spillover.report.report import Report
    from spillover.report.unfinished import write_unfinished

    if not isinstance(study, Report):
        raise ValueError(f"only a report has a page to watch, and the recipe gives a {study.kind}")
    told = ""
    while True:
        if root.is_dir():
            store = Store(root)
            if store.has(study):
                break
            progress = write_unfinished(study, store, out, every)
            text = f"{progress.made} of {progress.all} made, {progress.answers:,} answers judged: {out / 'index.html'}"
        else:
            text = f"no store at {root} yet: give the same words to spillover run"
        if text != told:
            say(text)
            told = text
        sys.stderr.flush()
        time.sleep(every)
    finish()
