"""A study of the tiny model, whole, killed at random moments: the same command goes on to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Spill

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = ("--model", "tiny:0", "--rows", "16", "--max-tokens", "3", "--per-question", "2")


def killed(folder: Path, kills: int, seed: int, words: tuple[str, ...]) -> dict:
    """What the kill_harness reports of a study killed so many times."""
    kill_harness = [
        sys.executable,
        str(CHECKOUT / "tests" / "cli" / "kill_harness.py"),
        str(folder),
        str(kills),
        str(seed),
    ]
    environment = os.environ | {"SPILLOVER_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join((str(CHECKOUT / "tests"), *sys.path))
    done = subprocess.run([*kill_harness, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def same_bytes(outcome: dict) -> None:
    """The killed study ended well, in what the uninterrupted one made, and nothing finished was touched on the way."""
    kept = ("exit_code", "damaged", "touched", "differs", "left")
    assert {name: outcome[name] for name in kept} == {
        "exit_code": 0,
        "damaged": [],
        "touched": [],
        "differs": [],
        "left": [],
    }


def test_killed_at_a_few_moments_the_same_command_ends_in_the_same_bytes(spill: Spill, tmp_path: Path) -> None:
    spill("new", "recipe", "tried", "--to", ".")
    outcome = killed(tmp_path, 3, 0, (str(tmp_path / "tried.py"), *QUICK, "--questions", "4"))
    assert outcome["kills"] >= 2 and outcome["artefacts"] == 10 and outcome["tables"] > 4
    same_bytes(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_many_moments_the_quickstart_ends_in_the_same_bytes(seed: int, tmp_path: Path) -> None:
    recipe = "quickstart"
    more = ("--warmup", "1", "--checkpoints", "2", "--control", "good", "--schedules", "linear,cosine-restarts")
    outcome = killed(tmp_path, 30, seed, (recipe, *QUICK, *more))
    assert outcome["kills"] >= 15  # or the study was over before it could be killed
    assert outcome["artefacts"] > 20 and outcome["tables"] > 10
    same_bytes(outcome)
