"""Builds docs/results/calibration.csv and .md: `python scripts/calibration.py [NAME ...] [--rounds N] [--jobs N]`.

Each check is a simulation with known truth (`calibration_checks`), repeated from seeds of its own, so that a check's
numbers depend on nothing but its name and rounds. What is in the table already is not run again unless `--again`; the
table is written after every check, so a run that stops goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from calibration_checks import Check  # noqa: E402
from calibration_checks import checks as one_judge_checks  # noqa: E402
from calibration_two_phase import two_phase_checks  # noqa: E402

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
COLUMNS = ("check", "data", "shown", "method", "kind", "value", "error", "rounds", "unanswered", "seed", "verdict")
REACH = {
    "false positives": (0.04, 0.06),
    "coverage": (0.93, 0.97),
    "false discoveries": (0.0, 0.05),
    "bias": (-0.02, 0.02),
}
Row = dict[str, Any]


def checks() -> Iterator[Check]:
    """Every check, always in the same order."""
    yield from one_judge_checks()
    yield from two_phase_checks()


def run(check: Check, rounds: int | None = None) -> list[Row]:
    """The check's rows, one a method and kind."""
    seed = zlib.crc32(f"{check.name}|{check.data}".encode())
    outcomes: dict[str, list[Any]] = {}
    count = rounds or check.rounds
    for number in range(count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in check.simulate(np.random.default_rng((seed, number))).items():
                outcomes.setdefault(name, []).append(value)
    return [_row(check, name, values, seed) for name, values in outcomes.items()]


def _row(check: Check, name: str, values: list[Any], seed: int) -> Row:
    method, kind = name.split("|")
    answered = [value for value in values if value is not None]
    if kind == "own coverage":
        kind, truth = "coverage", float(np.mean([value[0] for value in answered]))
        answered = [low <= truth <= high for _, low, high in answered]
    numbers = np.array(answered, dtype=float)
    value, error = float(numbers.mean()), float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return {
        "check": check.name,
        "data": check.data,
        "shown": check.shown,
        "method": method,
        "kind": kind,
        "value": round(value, 4),
        "error": round(error, 4),
        "rounds": len(values),
        "unanswered": len(values) - len(answered),
        "seed": seed,
        "verdict": verdict(kind, value, error),
    }


def verdict(kind: str, value: float, error: float) -> str:
    """`holds`; `cautious`: errs to the safe side; `fails`: beyond the reach by more than two standard errors."""
    base = next((name for name in REACH if kind.startswith(name)), None)
    if base is None:
        return ""
    low, high = REACH[base]
    if low - 2 * error <= value <= high + 2 * error:
        return "holds"
    safe = {"false positives": value < low, "coverage": value > high}.get(base, False)
    return "cautious" if safe else "fails"


def write(rows: list[Row], folder: Path = RESULTS) -> None:
    """Both tables, in the checks' order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = {(check.name, check.data): place for place, check in enumerate(checks())}
    rows = sorted(rows, key=lambda row: order.get((row["check"], row["data"]), len(order)))
    with (folder / "calibration.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (folder / "calibration.md").write_text(_page(rows))


def _page(rows: list[Row]) -> str:
    lines = [
        "# Calibration",
        "",
        "Built by `make calibration` from simulated data with known truth; every number with its Monte Carlo error.",
        "Aimed at: 4-6% false positives at 5%, 93-97% coverage of 95% intervals. *holds*: within that, or less than",
        "two errors beyond; *cautious*: beyond it on the safe side; *fails*: beyond it on the other. What is marked",
        "*published* or *naive* stands here for comparison; no claim of a report rests on it alone.",
        "",
        "| check | data | method | kind | % | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        value = f"{100 * float(row['value']):.1f} ± {100 * float(row['error']):.1f}"
        unanswered = f" ({row['unanswered']} of {row['rounds']} without answer)" if int(row["unanswered"]) else ""
        cells = (*(row[name] for name in ("check", "data", "method", "kind")), value + unanswered, row["verdict"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read(folder: Path = RESULTS) -> list[Row]:
    """The rows of the table that is there; none if there is none."""
    path = folder / "calibration.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="checks whose name begins so; none: all")
    parser.add_argument("--rounds", type=int, default=None, help="instead of each check's own (not resumed)")
    parser.add_argument("--again", action="store_true", help="also what is in the table already")
    parser.add_argument("--jobs", type=int, default=2, help="checks at a time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = read(given.out)
    due = [place for place, check in enumerate(checks()) if _is_due(check, rows, given)]
    with ProcessPoolExecutor(given.jobs) as pool:
        for done in as_completed([pool.submit(_timed, place, given.rounds) for place in due]):
            seconds, new = done.result()
            key = (new[0]["check"], new[0]["data"])
            rows = [row for row in rows if (row["check"], row["data"]) != key] + new
            write(rows, given.out)
            results = "; ".join(
                f"{row['method']} {row['kind']} {100 * row['value']:.1f} {row['verdict']}" for row in new
            )
            print(f"{key[0]}, {key[1]} ({seconds:.0f} s): {results}", flush=True)


def _is_due(check: Check, rows: list[Row], given: argparse.Namespace) -> bool:
    if given.names and not any(check.name.startswith(name) for name in given.names):
        return False
    mine = [row for row in rows if (row["check"], row["data"]) == (check.name, check.data)]
    return given.again or not mine or int(mine[0]["rounds"]) != (given.rounds or check.rounds)


def _timed(place: int, rounds: int | None) -> tuple[float, list[Row]]:
    start = time.process_time()
    rows = run(list(checks())[place], rounds)
    return time.process_time() - start, rows


if __name__ == "__main__":
    sys.exit(main())
