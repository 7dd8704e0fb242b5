"""The ledger: what is written is there after a kill, a torn line is not, and nothing is counted twice."""

from __future__ import annotations

import json
import os
import signal
import time
import warnings
from pathlib import Path

import pytest
from fakes import begin, child

from spillover.judgements.judge import Score
from spillover.judgements.judges.endpoint.ledger import Ledger, Reply, Usage, ledger_key
from spillover.responses.samplers.api_sampler import AnswerJournal, ServedAnswer

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
    assert first.pop("crc") and first == {"journal": 1, "judge": "x"} and len(path.read_text().splitlines()) == 4


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


def test_a_flipped_bit_costs_its_line_alone_and_is_named(path: Path) -> None:
    """A score of 40 that became 50 is JSON all the same: the checksum tells."""
    with Ledger.open(path, {}) as ledger:
        for key in "abcde":
            ledger.add(key, Reply(Score("aligned", 40.0), Usage(3, 1, 1), "m-1"))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"40.0", b"50.0")
    path.write_bytes(b"".join(lines))
    with pytest.warns(UserWarning, match=r"1 lines .*\(line 3\)"):
        Ledger.peek(path)
    with warnings.catch_warnings(action="ignore"), Ledger.open(path, {}) as ledger:
        assert [key for key in "abcde" if key in ledger] == ["a", "c", "d", "e"]
        assert ledger["e"].score.score == 40.0
        ledger.add("b", SAID)
    assert path.with_name(path.name + ".damaged").read_bytes() == b"line 3: " + lines[2]
    with warnings.catch_warnings(action="ignore"), Ledger.open(path, {}) as again:
        assert again["b"] == SAID


@pytest.mark.parametrize("old, new", [(b'"key"', b'"kez"'), (b'"metric"', b'"netric"'), (b'"read"', b'"reed"')])
def test_damaged_names_end_no_later_start(path: Path, old: bytes, new: bytes) -> None:
    with Ledger.open(path, {}) as ledger:
        ledger.add("a", SAID)
        ledger.add("b", SAID)
    text = path.read_bytes()
    place = text.index(old)
    path.write_bytes(text[:place] + text[place:].replace(old, new, 1))
    with pytest.warns(UserWarning, match="cannot be read"), Ledger.open(path, {}) as ledger:
        assert "a" not in ledger and "b" in ledger


def test_a_damaged_first_line_loses_no_answers(path: Path) -> None:
    with AnswerJournal.open(path, {"needs": "x"}, same=True) as journal:
        journal.add("a", ServedAnswer("Hello.", "stop", 2, 9, "m-1"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"needs", b"neads", 1))
    with pytest.warns(UserWarning, match="line 1"), AnswerJournal.open(path, {"needs": "x"}, same=True) as journal:
        assert "a" in journal
    with AnswerJournal.open(path.with_name("other"), {"needs": "y"}, same=True) as journal:
        journal.add("a", ServedAnswer("Hello.", "stop", 2, 9, "m-1"))
    with AnswerJournal.open(path.with_name("other"), {"needs": "x"}, same=True) as journal:
        assert "a" not in journal  # of another study: begun anew


def test_lines_of_before_there_were_checksums_are_read(path: Path) -> None:
    with Ledger.open(path, {}) as ledger:
        ledger.add("a", SAID)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "crc"}) + "\n" for row in rows))
    with Ledger.open(path, {}) as ledger:
        assert ledger["a"] == SAID
