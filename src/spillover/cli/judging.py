"""`spillover judge`: scores for the answers in a user's own file. Knows no file format and no judge."""

from __future__ import annotations

import sys
from pathlib import Path

from spillover.cli.progress import shown
from spillover.cli.text import one_line


def judge_answers(file: Path, out: Path, name: str) -> None:
    """Score every row of `file` into `out`; say how many were scored, and what the judge cannot do."""
    from spillover.judgements.files import judge_file
    from spillover.judgements.judge import judge_named

    judge = judge_named(name)
    with shown() as show:
        show.begin(f"{judge.name} scores {file}")
        facts = judge_file(file, out, judge, lambda share: show.progress(share, float("nan")))
    for given, kept in facts["renamed"].items():
        _say(f"the file's own column {given} is kept as {kept}")
    for metric, scored in facts["scored"].items():
        missing = ", ".join(f"{count} {reason}" for reason, count in facts["missing"][metric].items())
        _say(f"{metric}: {scored} of {facts['answers']} answers scored" + (f"; not: {missing}" if missing else ""))
    _say(facts["card"])
    print(one_line(facts["out"]))


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
