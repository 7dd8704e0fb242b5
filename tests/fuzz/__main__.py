"""`python -m fuzz --seconds 120 --seed 0`: what broke the rule is written into a folder and ends it with code 1."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

from .machine import run
from .readers import READERS


def main() -> int:
    words = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    words.add_argument("--seconds", type=float, default=120.0, help="how long, about")
    words.add_argument("--seed", type=int, default=0, help="of the changes")
    words.add_argument("--reader", action="append", help="this one only; may come again")
    words.add_argument("--out", type=Path, default=Path("fuzz-findings"), help="where inputs that broke the rule go")
    given = words.parse_args()
    readers = [reader for reader in READERS if not given.reader or reader.name in given.reader]
    if not readers:
        words.error(f"there are {', '.join(reader.name for reader in READERS)}")
    outcome = run(readers, given.seconds, given.seed)
    for reader in readers:
        counts = {what: outcome.counts[f"{reader.name}: {what}"] for what in ("right", "clear error", "broke the rule")}
        print(f"{reader.name:<22}" + ", ".join(f"{count:>6,} {what}" for what, count in counts.items()))
    for finding in outcome.findings:
        given.out.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", finding.reader) + "-" + hashlib.sha256(finding.data).hexdigest()[:8]
        (given.out / name).write_bytes(finding.data)
        print(f"BROKE THE RULE: {finding.reader}: {finding.what} ({given.out / name})")
    print(f"{sum(outcome.counts.values()):,} inputs, seed {given.seed}, {len(outcome.findings)} broke the rule")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
