"""`spillover judge`: scores for the answers in a user's own file. Knows no file format and no judge."""

from __future__ import annotations

from pathlib import Path

from spillover.cli.progress import shown


def judge_answers(file: Path, out: Path, name: str) -> None:
    """Score every row of `file` into `out`; say how many were scored and what the judge cannot do."""
    from spillover.judgements.files import judge_file
    from spillover.judgements.judge import Judge
    from spillover.organisms.naming import named, typed_name
    from spillover.spec import kinds_of

    judge = named("judge", name, {typed_name(kind): cls for kind, cls in kinds_of(Judge).items()})()
    assert isinstance(judge, Judge)
    with shown() as show:
        show.begin(f"{judge.name} scores {file}")
        facts = judge_file(file, out, judge, lambda share: show.progress(share, float("nan")))
    print(facts)
    print(out)
