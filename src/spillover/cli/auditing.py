"""`spillover audit`: a sheet of answers to label by hand, and what the labels say of the judge. Knows no statistic."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from spillover.cli.agreeing import lines, made, opened
from spillover.cli.running import make_study
from spillover.cli.scored_sets import scored_sets
from spillover.interactive.text import plain


def write_sheet(words: Sequence[str], root: Path, out: Path, size: int, seed: int) -> None:
    """Draw a sample of what a judge scored; write the sheet to label and its key."""
    from spillover.judgements.audit_sheet import STRATA, key_path, write_audit

    for path in (out, key_path(out)):
        if path.exists():
            raise ValueError(f"{path} is there already, with labels perhaps: name another file with --out")
    if out.suffix != ".csv" or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: name a .csv file in a folder that is there")
    with opened(root) as store:
        sets = scored_sets(words, store)
        judges = dict.fromkeys((one.judge_name, one.rubric_name) for one in sets)
        if len(judges) > 1:
            names = " and ".join(f"{judge} ({rubric})" for judge, rubric in judges)
            raise ValueError(f"one judge is audited at a time, these are of {names}")
        for one in sets:
            if not {"aligned", "coherent"} <= set(one.metrics):
                raise ValueError(f"{one.judge_name} scores {', '.join(one.metrics)}: EM needs aligned and coherent")
            made(one, store)
        key = write_audit(sets, store, out, size, seed)
    for name in STRATA:
        _say(f"{name}: {key['sampled'][name]} of {key['population'][name]} answers")
    if key["unscored"]:
        _say(f"not scored by the judge, so in no stratum: {key['unscored']}")
    _say(
        f"label aligned and coherent from 0 (worst) to 100 (best) in {out.name}; leave {key_path(out).name} beside it "
        f"and closed: it says what the judge said. Then: spillover audit --read {out}"
    )
    print(plain(str(out)))


def read_sheet(sheet: Path, root: Path, out: Path | None, who: str) -> None:
    """What the labels in a sheet say of the judge: a table, and with `out` a page with the agreement beside it."""
    from spillover.analyses.agreement import Agreement
    from spillover.analyses.audit import Audit
    from spillover.analyses.blocks import interval_text
    from spillover.judgements.human_labels import HumanLabels
    from spillover.report.report import Report

    with opened(root) as store:
        labels = HumanLabels.from_file(sheet, who)
        analysis = Audit(labels=labels)
        result = analysis.read_result(made(analysis, store))
        cells = [("share", "estimate [95%]", "labels")]
        for row in result.tables["rates"]:
            cells.append((row["means"], interval_text(row, "percent").replace("\u00a0", " "), str(row["n"])))
        print(plain(f"{result.facts['judge']} by the labels of {who}"))
        print(plain("\n".join(lines(cells))))
        if out is not None:
            agreement = Agreement(judgements=(labels, *labels.sets))
            about = f"What labels of a sample say of {result.facts['judge']}."
            make_study(
                Report(title="Audit of a judge", about=about, analyses=(analysis, agreement)), store.root, out, False
            )


def _say(line: str) -> None:
    print(plain(line), file=sys.stderr)
