"""`spillover judge`, `agree` and `audit`: score a file, compare judges, check one by hand."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from spillover.cli.running import make_study
from spillover.interactive.progress import shown
from spillover.interactive.text import columns, one_line, plain, say
from spillover.judgements.scored_answers import ScoredAnswers
from spillover.manifest import Damaged, read_manifest
from spillover.spec import decode, kinds_of
from spillover.store import Artefact, Store

# --- judge


def judge_answers(
    file: Path | None,
    out: Path | None,
    name: str,
    options: Mapping[str, str],
    store: Path,
    only_plan: bool,
    columns: str = "",
) -> None:
    """Score every row of `file` into `out`; say how many were scored, and what the judge cannot do.

    A judge that is paid says before what it will take; with `only_plan` that is all.
    """
    from spillover.judgements.judge import unlike_models
    from spillover.judgements.naming import judge_named
    from spillover.judgements.score_file import estimate_score_file, score_file

    if file is None:
        raise ValueError("Missing argument FILE: give a table with columns question and answer")
    if out is None:
        raise ValueError("Missing option '--out': say where to write the scores")
    judge = judge_named(name, options)
    replies = Store(store.expanduser().absolute())  # where a judge that is paid keeps them
    named = tuple(part.strip() for part in columns.split(",") if part.strip())
    estimate = estimate_score_file(file, out, judge, replies, named)
    if only_plan:
        print(one_line(f"{judge.name}: {estimate or 'costs nothing'}"))
        return
    if estimate is not None:
        say(f"{judge.name}: {estimate}")
    with shown() as listener:
        listener.begin(f"{judge.name} scores {file}")
        facts = score_file(file, out, judge, lambda share: listener.progress(share, float("nan")), replies, named)
    if facts["read"] != {"question": "question", "answer": "answer"}:
        say(f"read as the question: {facts['read']['question']}; as the answer: {facts['read']['answer']}")
    for given, renamed in facts["renamed"].items():
        say(f"the file's own column {given} is kept as {renamed}")
    for metric, scored in facts["scored"].items():
        missing = ", ".join(f"{count} {reason}" for reason, count in facts["missing"][metric].items())
        say(f"{metric}: {scored} of {facts['answers']} answers scored" + (f"; not: {missing}" if missing else ""))
    if (unlike := facts.get("outside")) and unlike["share"] is not None:
        say(f"outside: {unlike['share']:.1%} of the answers are unlike all that the judge was fitted on")
    for text in unlike_models(facts):
        say(text)
    say(facts["card"])
    print(one_line(facts["out"]))


def print_card(name: str, options: Mapping[str, str]) -> None:
    """Print all that was measured of a judge, and what it cannot do."""
    from spillover.judgements.naming import judge_named

    judge = judge_named(name, options)
    print(plain(f"{judge.name}\n\n{judge.whole_card().strip()}"))


# --- agree


def agree(words: Sequence[str], root: Path, out: Path | None) -> None:
    """Compare the judges of some sets of judged answers; print a table, and with `out` write a page with everything."""
    from spillover.analyses.agreement import Agreement
    from spillover.report.report import Report

    if len(words) < 2:
        raise ValueError("agreement needs two sets of judged answers at least: two judges, the same answers")
    with _store_at(root) as store:
        analysis = Agreement(judgements=tuple(scored_sets(words, store)))
        _print_agreement(analysis.read_result(_made(analysis, store)).tables)
        if out is not None:
            judges = " and ".join(dict.fromkeys(scored.judge_name for scored in analysis.judgements))
            about = f"How far {judges} agree on the same answers."
            make_study(Report(title="Agreement of judges", about=about, analyses=(analysis,)), store.root, out)


def _print_agreement(tables: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """All answers and each format; categories and questions stand on the page."""
    from spillover.analyses.blocks import interval_text

    for first, second in dict.fromkeys((row["first"], row["second"]) for row in tables["agreement"]):
        cells = [("answers", "of", "metric", "measure", "estimate [95%]", "n")]
        bias = [row | {"of": "question means", "statistic": "bias, points"} for row in tables["bias"]]
        for row in (*tables["agreement"], *bias):
            if (row["first"], row["second"]) == (first, second) and row["kind"] != "category":
                scope = "all" if row["kind"] == "all" else f"{row['kind']} {row['scope']}"
                unit: Literal["points", "r"] = "points" if row["statistic"] == "bias, points" else "r"
                value = interval_text(row, unit).replace("\u00a0", " ")
                cells.append((scope, row["of"], row["metric"], row["statistic"], value, f"{row['n']:,}"))
        print(plain(f"{second} against {first}\n{columns(cells)}"))
    for row in tables["counts"]:
        why = f"; not: {row['why']}" if row["missing"] else ""
        print(plain(f"{row['judge']}, {row['metric']}: {row['scored']} of {row['answers']} answers scored{why}"))


# --- audit


def write_sheet(words: Sequence[str], root: Path, out: Path, size: int, seed: int) -> None:
    """Draw a sample of what a judge scored; write the sheet to label and its key."""
    from spillover.judgements.audit_sheet import STRATA, key_path, write_audit

    for path in (out, key_path(out)):
        if path.exists():
            raise ValueError(f"{path} is there already, with labels perhaps: name another file with --out")
    if out.suffix != ".csv" or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: name a .csv file in a folder that is there")
    with _store_at(root) as store:
        sets = scored_sets(words, store)
        judges = dict.fromkeys((scored.judge_name, scored.rubric_name) for scored in sets)
        if len(judges) > 1:
            names = " and ".join(f"{judge} ({rubric})" for judge, rubric in judges)
            raise ValueError(f"one judge is audited at a time, these are of {names}")
        for scored in sets:
            if not {"aligned", "coherent"} <= set(scored.metrics):
                metrics = ", ".join(scored.metrics)
                raise ValueError(f"{scored.judge_name} scores {metrics}: EM needs aligned and coherent")
            _made(scored, store)
        key = write_audit(sets, store, out, size, seed)
    for name in STRATA:
        say(f"{name}: {key['sampled'][name]} of {key['population'][name]} answers")
    if key["unscored"]:
        say(f"not scored by the judge, so in no stratum: {key['unscored']}")
    say(
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

    with _store_at(root) as store:
        labels = HumanLabels.from_file(sheet, who)
        audit = Audit(labels=labels)
        result = audit.read_result(_made(audit, store))
        cells = [("share", "estimate [95%]", "labels")]
        for row in result.tables["rates"]:
            cells.append((row["means"], interval_text(row, "percent").replace("\u00a0", " "), str(row["n"])))
        print(plain(f"{result.facts['judge']} by the labels of {who}\n{columns(cells)}"))
        if out is not None:
            about = f"What labels of a sample say of {result.facts['judge']}."
            analyses = (audit, Agreement(judgements=(labels, *labels.sets)))
            make_study(Report(title="Audit of a judge", about=about, analyses=analyses), store.root, out)


# --- judged answers as a user names them


def scored_sets(words: Sequence[str], store: Store) -> list[ScoredAnswers]:
    """What each word names: digits of a fingerprint in the store, a file, or `JUDGE=FILE`."""
    return [_scored(word, store) for word in words]


def _scored(word: str, store: Store) -> ScoredAnswers:
    from spillover.judgements.tables.imported_scores import JudgedFile

    judge, equals, path = word.partition("=")
    if equals and not Path(word).expanduser().exists():
        return JudgedFile.from_file(path, judge)
    if Path(word).expanduser().is_file() or "." in word or "/" in word:
        return JudgedFile.from_file(word)
    kinds = kinds_of(ScoredAnswers)
    folders = [folder for folder in store.folders(word) if folder.parent.name in kinds] if word.isalnum() else []
    if not folders:
        raise ValueError(
            f"no judged answers {word!r} in {store.root}, and no such file; `spillover ls Judgements` lists those that "
            f"are there, or judge a file with `spillover judge`"
        )
    if len(folders) > 1:
        names = ", ".join(f"{folder.name} ({folder.parent.name})" for folder in folders[:5])
        raise ValueError(f"{len(folders)} sets of judged answers begin with {word!r}: {names}")
    try:
        scored = decode(read_manifest(folders[0])["spec"])
    except Damaged as error:
        raise ValueError(f"{one_line(str(folders[0]))}: {error}") from None
    assert isinstance(scored, ScoredAnswers)
    return scored


@contextlib.contextmanager
def _store_at(root: Path) -> Iterator[Store]:
    """The store at `root`; where there is none yet, or it may only be read, one for this command alone."""
    given = Store.open(root) if root.expanduser().exists() else None
    if given is not None and given.writable:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="spillover-") as folder:
        store = Store.open(folder)
        for path in given.folders() if given else []:  # one that may only be read: what is in it, and room beside it
            place = store.root / path.parent.name / path.name
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(path)
        yield store


def _made(artefact: Artefact, store: Store) -> Path:
    """The artefact's folder; made where it is not there, while stderr shows how far it is."""
    from spillover.engines.local import run

    with shown() as listener:
        return run(artefact, store, listener)
