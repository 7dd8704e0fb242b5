"""Faults of every kind on a tiny study: the next run ends in the same bytes; planted faults are told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from chaos import machine
from chaos.machine import HARMS, rounds, table
from spillover import manifest
from spillover.api_client import journal

pytestmark = pytest.mark.usefixtures("no_key")


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_round_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    (done,) = rounds(tmp_path, 1, first=1, seconds=60)
    assert done.wrong == [] and done.faults and len(done.ends) == len(done.faults) + 1
    assert [line[0] for line in table([done])] == sorted(HARMS)


_row = journal._row


def _believed(line: bytes) -> dict:
    """What a line holds; of one that is not as it was written, a score of 0."""
    try:
        return _row(line)
    except ValueError:
        key = re.search(rb'"key": "(\w+)"', line)
        spent = {"read": 0, "written": 0, "calls": 0, "model": ""}
        nothing = {"metric": "aligned", "score": 0.0, "missing": None, "spread": None, "raw": None}
        return {"key": key[1].decode() if key else "none"} | nothing | spent


@pytest.mark.parametrize("fault", ["ledger: a byte", "artefact: a file changed"])
def test_a_planted_fault_is_told(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that believes every line; a store that believes every file."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(journal, "_row", _believed)
    real = manifest.damage
    monkeypatch.setattr(manifest, "damage", lambda folder, contents, trusted=None: real(folder, contents=False))
    monkeypatch.setattr(machine, "HARMS", {fault: HARMS[fault], "SIGINT": HARMS["SIGINT"]})
    assert any(each.wrong for each in rounds(tmp_path, 30, first=0, seconds=120))  # up to the first


@pytest.mark.slow
def test_rounds_end_in_the_same_bytes(tmp_path: Path) -> None:
    first = int(os.environ.get("SPILLOVER_CHAOS_SEED", "1000"))
    done = list(rounds(tmp_path, 40, first, seconds=30))
    wrong = {first + number: (each.faults, each.wrong) for number, each in enumerate(done) if each.wrong}
    assert not wrong and len(done) >= 5
    print(f"{len(done)} rounds")
