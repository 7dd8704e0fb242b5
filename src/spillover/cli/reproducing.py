"""`spillover reproduce`: a paper's published numbers computed anew from its released files."""

from __future__ import annotations

import json
import time
from pathlib import Path

from spillover.interactive.progress import shown
from spillover.interactive.text import duration, one_line, say

PROBLEMS = 20  # that are named one by one


def list_papers(as_json: bool = False) -> None:
    """Every paper that can be reproduced, a line each."""
    from spillover.papers.paper import papers

    if as_json:
        print(json.dumps([{"name": name, "summary": paper.summary()} for name, paper in papers().items()], indent=1))
        return
    for name, paper in papers().items():
        print(one_line(f"{name}: {paper.summary()}"))


def reproduce_paper(name: str, path: Path, out: Path) -> None:
    """Compare every published number below `path` with ours, into `out`; say how many match."""
    from spillover.papers.cells import tally
    from spillover.papers.page import CELLS, write_reproduction
    from spillover.papers.paper import paper_named

    paper = paper_named(name)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: --out names a folder")
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

        reproduction = paper.reproduce(path, progress)
        progress("page", 0.0)
        page = write_reproduction(reproduction, out)
        listener.end(stage, time.monotonic() - since, True)
    for problem in reproduction.problems[:PROBLEMS]:
        where = problem.file if problem.line == 0 else f"{problem.file}, line {problem.line}"
        say(f"not read: {where}: {problem.why}")
    if len(reproduction.problems) > PROBLEMS:
        say(f"not read: {len(reproduction.problems) - PROBLEMS} more; all are in {CELLS}")
    for part, counts in tally(reproduction.cells).items():
        say(f"{part}: {counts['match']} match, {counts['differs']} differ, {counts['not computable']} not computable")
    say(f"done in {duration(time.monotonic() - started)}")
    print(one_line(str(page)))
