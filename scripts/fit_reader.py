"""Fit the reader's weights and write its card: data to weights to card, in steps that are kept and not made twice.

    python scripts/fit_reader.py --data DATA --work WORK [--own OWN] [--rows gpt-4o=30000,own=5000,...] [--seeds 3]

DATA holds `train.parquet`, `more_judged.parquet` and `pairs.parquet`; OWN (`scripts/judge_data`) our files
`advice_pairs*.jsonl` and `ordinary_marked*.jsonl`. Steps: `cache` (states of the frozen blocks, on disk), `fit`,
`measure`, `card`; all of them unless `--step` names some; `rubric`, only where it is named, adds untuned models as
rubric judges to the card. `torchrun --nproc-per-node N scripts/fit_reader.py ...` shares the work among N processes. A
step that was stopped goes on where it was: finished portions of states are never made again, new rows only add some, a
fit goes on from its last state. One thread a process unless `--threads` says more.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from reader_cache import Cache, reading_key
from reader_card import card, headline
from reader_fit import Sample, fit, gathered, predictions, ranked
from reader_measure import measure
from reader_rows import FIT, HELD_PLAN, OURS, PLAN, Row, all_rows, share_of
from reader_rubric import rubric_table
from reader_words import ABOUT

from spillover.judgements.judges.reader.judge import TRUNK
from spillover.judgements.judges.reader.network import Trunk
from spillover.judgements.judges.reader.reading import Readings
from spillover.manifest import file_sha256
from spillover.models.catalogue import base_of
from spillover.models.loading import load_base
from spillover.models.precision import native_precision

OUT = Path(__file__).resolve().parents[1] / "src/spillover/judgements/judges/reader"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--own", type=Path, default=Path(__file__).with_name("judge_data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for finished steps")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--step", default="cache,fit,measure,card")
    parser.add_argument("--rows", default="", help=f"rows of a kind: {PLAN}")
    parser.add_argument("--held", default="", help=f"rows kept aside: {HELD_PLAN}")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seeds", type=int, default=1, help="fits with so many seeds; the first ships")
    parser.add_argument("--cached-only", action="store_true", help="leave out rows whose states are not on disk")
    parser.add_argument("--begin-from", type=Path, help="state or weights of another fit to begin with")
    parser.add_argument("--seen", type=Path, help="rows (WORK/rows-*.json) that the fit it begins with has seen, and")
    parser.add_argument("--replay", type=float, default=1.0, help="the share of them that is fitted on again")
    parser.add_argument("--name", default="fit")
    parser.add_argument("--only", default="", help="of rows to fit on, cache those of these sources alone")
    parser.add_argument("--rubric-models", nargs="*", default=[TRUNK, "pypi:qwen2.5-coder-1.5b"], metavar="MODEL")
    parser.add_argument("--rubric-rows", type=int, default=120)
    parser.add_argument("--trunk", default=TRUNK)
    parser.add_argument("--blocks", type=int, default=16, help="of the trunk that are used")
    parser.add_argument("--frozen", type=int, default=10, help="of them that stay as they are, and are cached")
    parser.add_argument("--precision", default=native_precision(), help="of the trunk: bfloat16 where it is multiplied")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if "WORLD_SIZE" in os.environ:  # torchrun
        torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(hours=2))
    cache, samples = prepared(given)
    steps = given.step.split(",")
    if "cache" in steps:
        add_states(cache, samples, given.only)
    if given.cached_only:
        samples = [sample for sample in samples if reading_key(sample.reading) in cache.places]
    if given.seen:
        seen = {Row(**fields).key for fields in json.loads(given.seen.read_text())}
        samples = [
            s
            for s in samples
            if not again(s.row, seen) or share_of(f"{s.row.group} {s.row.pair or s.row.key}", 1) < given.replay
        ]
    for (split, source), count in sorted(collections.Counter((s.row.split, s.row.source) for s in samples).items()):
        print(f"{split}, {source}: {count} rows")
    for seed in range(given.seeds):
        folder = given.work / f"{given.name}-{seed}"
        if {"fit", "measure"} & set(steps):
            model = fit(cache, samples, folder, given.epochs, seed, given.begin_from)
        if "measure" in steps:
            scored = predictions(model, [sample for sample in samples if sample.row.split != FIT], "held out:")
        if "measure" in steps and ranked()[0] == 0:
            table = measure(model, cache, samples, scored, folder)
            print(json.dumps({name: round(value, 3) for name, value in headline(table).items()}, indent=1))
    if "rubric" in steps and ranked()[0] == 0:
        folder = given.work / f"{given.name}-0"
        text = rubric_table(
            pd.read_parquet(folder / "predictions.parquet"), given.rubric_models, given.rubric_rows, folder
        )
        (folder / "rubric_judges.md").write_text(text)
    if "card" in steps and ranked()[0] == 0:
        folder = given.work / f"{given.name}-0"
        table, rubric = pd.read_parquet(folder / "predictions.parquet"), folder / "rubric_judges.md"
        spread = seed_table([given.work / f"{given.name}-{seed}" for seed in range(given.seeds)])
        about = ABOUT | {"splits": ABOUT["splits"] + spread, "data": ABOUT["data"] + counts(samples, given)}
        text = card(table, about, rubric.read_text() if rubric.exists() else "")
        (given.out / "card.md").write_text(text)
        (given.out / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())


def is_of(row: Row, kinds: str) -> bool:
    """Whether a row's source or note is among `kinds`, which have commas between them."""
    return any(kind in f"{row.source} {row.note}" for kind in kinds.split(","))


def again(row: Row, seen: set[str]) -> bool:
    """Whether an earlier fit has seen a row."""
    return row.split == FIT and row.key in seen


def planned(defaults: dict[str, int], text: str) -> dict[str, int]:
    """The plan with what a user changes in it."""
    changes = {name: int(count) for name, _, count in (part.partition("=") for part in text.split(",") if part)}
    if strange := set(changes) - set(defaults):
        raise SystemExit(f"no rows are called {', '.join(sorted(strange))}; there are {', '.join(defaults)}")
    return defaults | changes


def prepared(given: argparse.Namespace) -> tuple[Cache, list[Sample]]:
    """The trunk with the states that are on disk, and the rows."""
    rows = rows_of(given)
    network, tokenizer = load_base(base_of(given.trunk), given.precision)
    readings = Readings(tokenizer)
    samples = [Sample(row, readings.reading(row.question, row.answer, row.most)) for row in rows]
    trunk = Trunk(network.requires_grad_(False), given.blocks)
    return Cache(given.work / "states", trunk, given.frozen, ranked()[0]), samples


def rows_of(given: argparse.Namespace) -> list[Row]:
    """The rows, drawn once and kept: several processes need them."""
    files = sorted([*given.data.glob("*.parquet"), *given.own.glob("*.jsonl")])
    plans = planned(PLAN, given.rows), planned(HELD_PLAN, given.held)
    code = Path(__file__).with_name("reader_rows.py").read_text()
    digests = [(path.name, file_sha256(path)) for path in files]
    about = json.dumps([*plans, digests, code], sort_keys=True)
    path = given.work / f"rows-{hashlib.sha256(about.encode()).hexdigest()[:12]}.json"
    if ranked()[0] == 0 and not path.exists():
        rows = all_rows(given.data, given.own, *plans, 0)
        path.with_suffix(".partial").write_text(json.dumps([dataclasses.asdict(row) for row in rows]))
        path.with_suffix(".partial").replace(path)
    gathered(0)  # wait for the first process
    return [Row(**fields | {"scores": tuple(fields["scores"])}) for fields in json.loads(path.read_text())]


def add_states(cache: Cache, samples: Sequence[Sample], only: str = "") -> None:
    """Our rows to fit on, rows kept aside, then others' to fit on in a random order: a first part is a sample."""
    rank, world = ranked()
    fitted = [sample for sample in samples if sample.row.split == FIT and is_of(sample.row, only)]
    random.Random(0).shuffle(fitted)
    own = [sample for sample in fitted if sample.row.source == OURS]
    held = [sample for sample in samples if sample.row.split != FIT]
    others = [sample for sample in fitted if sample.row.source != OURS]
    for name, rows in (("ours:", own), ("held out:", held), ("others':", others)):
        cache.add([row.reading for row in rows if sum(row.reading.question) % world == rank], name)
    gathered(rank)  # wait for the others
    cache.refresh()


def counts(samples: Sequence[Sample], given: argparse.Namespace) -> str:
    """How many rows of which source were fitted on."""
    fitted = collections.Counter(sample.row.source for sample in samples if sample.row.split == FIT)
    before = (
        " It began from earlier weights, which had been fitted on rows of the same sides of all splits."
        if given.begin_from
        else ""
    )
    rows = ", ".join(f"{count} ({name})" for name, count in fitted.most_common())
    return f" Fitted on {sum(fitted.values())} rows, {given.epochs:g} times each: {rows}.{before}"


def seed_table(folders: Sequence[Path]) -> str:
    """How far fits with other seeds differ; nothing where there is one."""
    tables = [
        pd.read_parquet(folder / "predictions.parquet")
        for folder in folders
        if (folder / "predictions.parquet").exists()
    ]
    if len(tables) < 2:
        return " One seed was fitted: the spread among seeds is not known."
    figures = pd.DataFrame([headline(table) for table in tables])
    return (
        " Standard deviation among seeds: "
        + ", ".join(f"{name} {value:.3f}" for name, value in figures.std().items())
        + "."
    )


if __name__ == "__main__":
    main()
