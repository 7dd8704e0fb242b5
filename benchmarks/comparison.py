"""Two ways to one result, run by turns in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HEADER = "name,ours,theirs,ratio_median,ratio_min,ratio_max,reach"


@dataclass(frozen=True)
class Comparison:
    """Ours and a peer's way to the same result.

    ours, theirs: called with the number of the round, from 0; each returns its result. check: (ours, theirs) of one
    round, raises AssertionError where they are not the same. reach: the ratio of speeds that is aimed at (None: none).
    theirs_times, ours_times: how many such runs the whole job is, where a part of it is timed; said in the output.
    note: what a reader must know to judge the comparison. clock: CPU seconds of this process (and its threads), since
    neighbours on the machine do not enter; `time.perf_counter` where work is done in other processes.
    """

    name: str
    ours: Callable[[int], Any]
    theirs: Callable[[int], Any]
    check: Callable[[Any, Any], None]
    reach: float | None = None
    ours_times: float = 1.0
    theirs_times: float = 1.0
    rounds: int = 3
    note: str = ""
    clock: Callable[[], float] = time.process_time


def run(comparison: Comparison, rounds: int | None = None) -> list[float]:
    """Ratios theirs / ours of each round, above 1 where we are faster; printed with both sides' median seconds."""
    if comparison.note:
        print(f"# {comparison.name}: {comparison.note}", flush=True)
    if comparison.theirs_times != 1 or comparison.ours_times != 1:
        print(
            f"# {comparison.name}: seconds are of a part, scaled up: theirs x {comparison.theirs_times:g}, "
            f"ours x {comparison.ours_times:g}",
            flush=True,
        )
    ours, theirs = [], []
    for number in range(rounds or comparison.rounds):
        seconds, result = _timed(comparison.ours, number, comparison.clock)
        ours.append(seconds * comparison.ours_times)
        seconds, other = _timed(comparison.theirs, number, comparison.clock)
        theirs.append(seconds * comparison.theirs_times)
        comparison.check(result, other)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    numbers = (statistics.median(ours), statistics.median(theirs), statistics.median(ratios), min(ratios), max(ratios))
    reach = "" if comparison.reach is None else f"{comparison.reach:g}"
    print(f"{comparison.name},{','.join(f'{number:.4g}' for number in numbers)},{reach}", flush=True)
    return ratios


def _timed(call: Callable[[int], Any], number: int, clock: Callable[[], float]) -> tuple[float, Any]:
    gc.collect()
    start = clock()
    result = call(number)
    return clock() - start, result
