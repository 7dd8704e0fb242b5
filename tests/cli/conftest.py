"""A recipe of fake artefacts, and the command line called in this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spillover.cli import app

RECIPE = '''"""A study of letters."""
from typing import Annotated, Literal

from fakes import Joined, Letters


def recipe(
    seeds: Annotated[int, "how many sets of letters"] = 1,
    names: Annotated[tuple[str, ...], "names of things"] = ("a", "b"),
    numbers: tuple[int, ...] = (),
    peak_rate: float = 0.5,
    mode: Literal["fast", "slow"] = "fast",
    quick: bool = False,
    note: str | None = None,
):
    """Join letters.

    No part of the help.
    """
    print(f"given: {seeds!r} {names!r} {numbers!r} {peak_rate!r} {mode!r} {quick!r} {note!r}")
    return Joined(of=tuple(Letters(seed=seed) for seed in range(seeds)))
'''
Spill = Callable[..., Result]


@pytest.fixture
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spill:
    """The command line in a folder of its own, where `letters.py` is a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPILLOVER_STORE", raising=False)
    monkeypatch.delenv("SPILLOVER_DEBUG", raising=False)
    Path("letters.py").write_text(RECIPE)

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


def refused(result: Result, *messages: str, code: int = 2) -> None:
    """The command ended with the code and one clear message on stderr, and no traceback."""
    assert result.exit_code == code, result.output
    for message in messages:
        assert message in result.stderr
    assert len(re.findall("^[eE]rror: ", result.stderr, re.MULTILINE)) == 1
    assert "Traceback" not in result.output and isinstance(result.exception, SystemExit)
