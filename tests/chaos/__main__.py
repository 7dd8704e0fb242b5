"""`python -m chaos --rounds 200`: a table of faults and what came of them; code 1 where a round ended wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .machine import rounds, table


def main() -> int:
    words = argparse.ArgumentParser(prog="chaos", description=__doc__)
    words.add_argument("--rounds", type=int, default=200)
    words.add_argument("--seed", type=int, default=0, help="of the first round; the others follow")
    words.add_argument("--seconds", type=float, default=3600.0, help="after which no round is begun")
    given = words.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spillover-chaos-") as folder:
        done = list(rounds(Path(folder), given.rounds, given.seed, given.seconds))
    print("| fault | times | how the run under it ended | rounds with it that ended wrong |\n|---|---|---|---|")
    for name, times, ends, wrong in table(done):
        print(f"| {name} | {times} | {ends} | {wrong} |")
    for number, each in enumerate(done):
        for line in each.wrong:
            print(f"WRONG: seed {given.seed + number} ({', '.join(each.faults)}): {line}")
    bad = sum(bool(each.wrong) for each in done)
    again = sum(each.paid_again for each in done)
    faults = sum(len(each.faults) for each in done)
    print(
        f"{len(done)} rounds, {faults} faults, {bad} rounds ended wrong; {again} replies asked for again, all of calls "
        f"under way or lines damaged; {time.monotonic() - began:.0f} s"
    )
    return 1 if bad or not done else 0


if __name__ == "__main__":
    sys.exit(main())
