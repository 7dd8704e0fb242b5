"""The ledger: what is written is there after a kill, a torn line is not, and nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from fakes import begin, child

from spillover.judgements.judge import Score
from spillover.judgements.judges.endpoint.ledger import Ledger, Reply, Usage, ledger_key

SAID = Reply(Score("aligned", 81.5, spread=3.25, raw='[["80", 0.5]]'), Usage(300, 1, 1), "m-1")
MISSING = Reply(Score("aligned", None, "no number", raw="\ud800 x"), Usage(10, 1, 1), "m-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "one.jsonl"


def test_what_is_kept_is_read_back(path: Path) -> None:
    with Ledger.open(path, {"judge": "x"}) as ledger:
        ledger.add("a", SAID)
        ledger.add("b", MISSING)
        ledger.pay(Usage(7, 2, 1))
        assert ledger["a"] == SAID and ledger["b"] == MISSING and "c" not in ledger
    with Ledger.open(path, {"judge": "x"}) as again:
        assert again["a"] == SAID and again["b"] == MISSING and len(again) == 2
        assert again.spent == ledger.spent == Usage(317, 4, 3)
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {"journal": 1, "judge": "x"} and len(path.read_text().splitlines()) == 4


def test_a_torn_last_line_is_cut_off_and_the_rest_stands(path: Path) -> None:
    with Ledger.open(path, {}) as ledger:
        ledger.add("a", SAID)
        ledger.add("b", MISSING)
    whole = path.read_bytes()
    for cut in (1, 5, 60):
        path.write_bytes(whole[:-cut])
        with Ledger.open(path, {}) as ledger:
            assert "a" in ledger and "b" not in ledger
            ledger.add("b", MISSING)
        assert path.read_bytes() == whole
    path.write_bytes(whole[:20])  # torn in its first line
    with Ledger.open(path, {}) as ledger:
        assert not len(ledger)
        ledger.add("a", SAID)
    assert Ledger.peek(path).spent == SAID.usage


def test_a_damaged_line_is_passed_over_and_said(path: Path) -> None:
    with Ledger.open(path, {}) as ledger:
        ledger.add("a", SAID)
        ledger.add("b", SAID)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("81.5", "810.5") + "\x00\x00\n" + lines[2])
    with pytest.warns(UserWarning, match="2 lines cannot be read"), Ledger.open(path, {}) as ledger:
        assert "a" not in ledger and ledger["b"] == SAID


def test_a_look_makes_nothing(path: Path) -> None:
    assert len(Ledger.peek(path)) == 0 and not path.parent.exists() and len(Ledger.peek(None)) == 0


def test_in_memory_it_is_the_same() -> None:
    with Ledger.open(None, {}) as ledger:
        ledger.add("a", SAID)
        ledger.pay(Usage(1, 1, 1))
        ledger.sync()
        assert ledger["a"] == SAID and ledger.spent == Usage(301, 2, 2)


def test_a_kill_loses_nothing_that_was_kept(path: Path) -> None:
    def die() -> None:
        with Ledger.open(path, {}) as ledger:
            for number in range(50):
                ledger.add(str(number), SAID)
            os.kill(os.getpid(), signal.SIGKILL)

    assert child(die) == -signal.SIGKILL
    with Ledger.open(path, {}) as ledger:
        assert len(ledger) == 50 and ledger["49"] == SAID


def test_one_process_at_a_time(path: Path) -> None:
    def hold() -> None:
        with Ledger.open(path, {}) as ledger:
            (path.parent / "held").touch()
            time.sleep(0.3)
            ledger.add("theirs", SAID)

    pid = begin(hold)
    while not (path.parent / "held").exists():
        time.sleep(0.005)
    with pytest.warns(UserWarning, match="another process"), Ledger.open(path, {}) as ledger:
        assert ledger["theirs"] == SAID  # read after the other was done
    os.waitpid(pid, 0)


def test_the_disk_is_told_once_for_many_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(os, "fsync", told.append)
    with Ledger.open(path, {}) as ledger:
        for number in range(20):
            ledger.add(str(number), SAID)
        ledger.sync()
        ledger.sync()
        assert len(told) == 1
    assert len(told) == 2  # and at the end


def test_keys_differ_by_all_that_matters() -> None:
    base = ("judge", "question", "answer", "aligned")
    keys = {ledger_key(*base), *(ledger_key(*base[:n], base[n] + "x", *base[n + 1 :]) for n in range(4))}
    assert len(keys) == 5 and all(len(key) == 32 for key in keys)
    assert ledger_key("j", "ab", "c", "m") != ledger_key("j", "a", "bc", "m") and ledger_key("j", "\ud800", "", "m")


def test_a_full_disk_is_an_error_and_the_ledger_stays_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path, {}) as ledger:
        ledger.add("a", SAID)
        real = os.write

        def half(file: int, line: bytes) -> int:
            if len(line) < 40:
                raise OSError(28, "No space left on device")
            return real(file, line[:-30])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            ledger.add("b", SAID)
        assert "b" not in ledger and isinstance(ledger, Ledger)
    monkeypatch.undo()
    with Ledger.open(path, {}) as again:
        assert again["a"] == SAID and "b" not in again
