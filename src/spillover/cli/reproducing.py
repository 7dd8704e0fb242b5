"""`spillover reproduce`: published numbers computed anew from their own files. Knows no file format."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from spillover.interactive.progress import shown
from spillover.interactive.text import duration, one_line

RELEASES = ("em-generalization",)


def reproduce_release(release: str, path: Path, out: Path) -> None:
    """Compare every published number below `path` with ours, into `out`; say how many match."""
    if release not in RELEASES:
        raise ValueError(f"no release is called {release!r}; those known are {', '.join(RELEASES)}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: --out names a folder")
    from spillover.papers.em_generalization.reproduce.cells import tally
    from spillover.papers.em_generalization.reproduce.page import CELLS, write_reproduction
    from spillover.papers.em_generalization.reproduce.reproduce import reproduce

    started = since = time.monotonic()
    stage = ""
    with shown() as listener:

        def progress(what: str, share: float) -> None:
            nonlocal stage, since
            if what != stage:
                if stage:
                    listener.end(stage, time.monotonic() - since, True)
                stage, since = what, time.monotonic()
                listener.begin(what)
            listener.progress(share, float("nan"))

        done = reproduce(path, progress)
        progress("page", 0.0)
        page = write_reproduction(done, out)
        listener.end(stage, time.monotonic() - since, True)
    for problem in done.problems[:20]:
        where = problem.file if problem.line == 0 else f"{problem.file}, line {problem.line}"
        _say(f"not read: {where}: {problem.why}")
    if len(done.problems) > 20:
        _say(f"not read: {len(done.problems) - 20} more; all are in {CELLS}")
    for row in tally(done.cells):
        _say(f"{row['part']}: {row['match']} match, {row['differs']} differ, {row['not computable']} not computable")
    _say(f"done in {duration(time.monotonic() - started)}")
    print(one_line(str(page)))


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
