"""Starts the command line again and again in processes forked from one that has torch loaded, and kills them.

    python kill_harness.py FOLDER KILLS SEED WORD ...      prints what came of it as one line of JSON

Loading torch takes longer than a study of the tiny model; forked, a whole study takes a few seconds. The parent only
imports: nothing that it holds can differ between its children.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import matplotlib.figure
import peft
import scipy.stats
import torch
import transformers
from fakes import contents

import spillover.cli
from spillover.discovery import discover
from spillover.manifest import MANIFEST
from spillover.store import Store

discover()
torch.set_num_threads(1)
LOADED = (matplotlib.figure, peft.PeftModel, scipy.stats, transformers.AutoModelForCausalLM)


def start(words: list[str]) -> int:
    """The command line in a child; its process number."""
    pid = os.fork()
    if pid:
        return pid
    with open(os.devnull, "w") as nothing, open("messages", "a") as messages:
        os.dup2(nothing.fileno(), 1)
        os.dup2(messages.fileno(), 2)
        sys.argv = ["spillover", *words]
        try:
            spillover.cli.main()
        except SystemExit as ends:
            os._exit(int(ends.code or 0))
        os._exit(0)


def study(words: list[str], store: str) -> int:
    """Process of a run of the study in a store."""
    return start(["run", *words, "--store", store, "--out", f"{store}-report"])


def ended(pid: int) -> int:
    """How a child ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def watched(pid: int, store: Store, changes: int, delay: float) -> int | None:
    """Wait until the child has begun or ended so many artefacts, and a moment more; its exit code if done first."""

    def there() -> set[str]:
        return {path.name for pattern in ("tmp/*", "[A-Z]*/*") for path in store.root.glob(pattern)}

    seen, until = there(), float("inf")
    while time.monotonic() < until:
        if until == float("inf") and len(there() - seen) >= changes:
            until = time.monotonic() + delay
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def result(store: Store) -> dict[str, bytes]:
    """All files of all artefacts, but for the page and its manifest: the page says when it was made."""
    return {
        name: data
        for name, data in contents(store).items()
        if not name.endswith("index.html") and not (name.startswith("Report/") and name.endswith(MANIFEST))
    }


def main() -> None:
    """One uninterrupted run; then a run killed at random moments, gone on with until it ends."""
    folder, kills, seed, words = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    os.chdir(folder)
    began = time.monotonic()
    assert ended(study(words, "whole")) == 0, Path("messages").read_text()
    whole_seconds = time.monotonic() - began
    draw = random.Random(seed)
    kills_done = 0
    damaged, touched = [], []
    finished: dict[str, int] = {}
    store = Store(Path("killed"))
    while True:
        pid = study(words, "killed")
        done = None
        if kills_done < kills:
            done = watched(pid, store, draw.randint(1, 3), draw.choice((0.0, 0.1, 1.0)) * draw.random())
        if done is None and kills_done < kills:
            os.kill(pid, signal.SIGKILL)
            kills_done += 1
            assert ended(pid) == -signal.SIGKILL
        elif done is None:
            done = ended(pid)
        damaged += [str(path) for path, lines in store.verify() if lines]
        now = {str(path): path.stat().st_mtime_ns for path in store.root.glob("[A-Z]*/*/**/*")}
        touched += [path for path, when in finished.items() if now.get(path) != when]
        finished = now
        if done is not None:
            break
    whole, mended = result(Store(Path("whole"))), result(store)
    print(
        json.dumps(
            {
                "exit_code": done,
                "kills": kills_done,
                "damaged": damaged,
                "touched": touched,
                "differs": sorted(name for name in whole.keys() | mended.keys() if whole.get(name) != mended.get(name)),
                "artefacts": sum(name.endswith(MANIFEST) for name in whole),
                "tables": sum("/tables/" in name for name in whole),
                "left": [path.name for path in (store.root / "tmp").iterdir()],
                "seconds": round(whole_seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
