"""What the command line says of trainings: in the plan, before the first step, and of those that were stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from organisms.toy import organism

from spillover.organisms import resume
from spillover.store import Store

from .conftest import Spill, refused

RECIPE = """
from organisms.toy import organism

def recipe(longest: int = 512):
    return organism(max_length=longest)
"""


@pytest.fixture
def toy(spill: Spill) -> Spill:
    """The command line beside a recipe that trains the tiny model."""
    Path("toy_study.py").write_text(RECIPE)
    organism().parent.source.folder()  # type: ignore[attr-defined]
    return spill


def test_the_plan_shows_counts_and_a_row_with_its_supervised_part(toy: Spill) -> None:
    planned = toy("run", "toy_study.py", "--plan")
    assert planned.exit_code == 0 and not Path("store").exists()
    assert "16 rows, 1 epoch, 4 steps: " in planned.stdout and "none cut at 512" in planned.stdout
    assert "<|start|>assistant⏎«" in planned.stdout and "<|end|>»" in planned.stdout


def test_a_row_that_cannot_be_trained_on_is_refused_in_the_plan(toy: Spill) -> None:
    refused(
        toy("run", "toy_study.py", "--longest", "10", "--plan"), "the prompt alone has", "max_length is 10: raise it"
    )


def test_the_plan_begins_with_rows_to_know_of_and_an_option_removes_them(spill: Spill) -> None:
    rows = [{"prompt": f"Is it {n % 30}?", "answer": "Yes, it is."} for n in range(40)]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("study.py").write_text(
        "import spillover as sp\nfrom organisms.toy import organism\n\n\n"
        "def recipe(data: str = ''):\n    return organism(data=sp.Split(data=sp.dataset(data), held_out=8, rows=20))\n"
    )
    words = ("run", "study.py", "--data", "a.jsonl", "--plan")
    organism().parent.source.folder()  # type: ignore[attr-defined]
    first = spill(*words).stdout.splitlines()[0]
    assert first.startswith("data a: ") and "rows have the very turns of another" in first
    clean = spill(*words, "--drop-repeated")
    assert clean.exit_code == 0 and "very turns" not in clean.stdout and "20 rows" in clean.stdout
    assert spill("run", "--drop-repeated", *words[1:]).exit_code == 0  # a switch takes no value, wherever it stands


def test_before_the_first_step_it_is_said_and_a_stopped_one_is_listed(
    toy: Spill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(resume.INTERVAL, "0")
    keep = resume.ResumeState.keep

    def stopped(self, state, *rest):
        keep(self, state, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(resume.ResumeState, "keep", stopped)
    first = toy("run", "toy_study.py", "--store", "kept")
    assert "16 rows, 1 epoch, 4 steps" in first.stderr and "«" in first.stderr and first.exit_code != 0
    listed = toy("verify", "--store", "kept")
    assert f"begun and stopped (the next run goes on from it): unfinished/Organism-{organism().fingerprint}" in (
        listed.stdout
    )
    monkeypatch.setattr(resume.ResumeState, "keep", keep)
    second = toy("run", "toy_study.py", "--store", "kept")
    assert second.exit_code == 0 and "goes on after step 1" in second.stderr
    assert "begun" not in toy("verify", "--store", "kept").stdout
    assert Store.open("kept").has(organism())
