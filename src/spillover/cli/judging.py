"""`spillover judge`: scores for the answers in a user's own file. Knows no file format and no judge."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from spillover.interactive.progress import shown
from spillover.interactive.text import one_line
from spillover.store import Store


def judge_answers(file: Path, out: Path, name: str, options: Mapping[str, str], store: Path, only_plan: bool) -> None:
    """Score every row of `file` into `out`; say how many were scored, and what the judge cannot do.

    A judge that is paid says before what it will take; with `only_plan` that is all.
    """
    from spillover.judgements.naming import judge_named
    from spillover.judgements.score_file import estimate_score_file, score_file

    judge = judge_named(name, options)
    kept = Store(store.expanduser().absolute())
    estimate = estimate_score_file(file, out, judge, kept)
    if only_plan:
        print(one_line(f"{judge.name}: {estimate or 'costs nothing'}"))
        return
    if estimate is not None:
        _say(f"{judge.name}: {estimate}")
    with shown() as listener:
        listener.begin(f"{judge.name} scores {file}")
        facts = score_file(file, out, judge, lambda share: listener.progress(share, float("nan")), kept)
    for given, name_kept in facts["renamed"].items():
        _say(f"the file's own column {given} is kept as {name_kept}")
    for metric, scored in facts["scored"].items():
        missing = ", ".join(f"{count} {reason}" for reason, count in facts["missing"][metric].items())
        _say(f"{metric}: {scored} of {facts['answers']} answers scored" + (f"; not: {missing}" if missing else ""))
    _say(facts["card"])
    print(one_line(facts["out"]))


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
