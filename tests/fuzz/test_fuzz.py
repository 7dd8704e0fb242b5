"""The machine that changes good inputs has teeth: planted faults are told, and inputs that were kept stay harmless."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import machine
from fuzz.machine import Outcome, Reader, inputs, run, try_batch
from fuzz.readers import READERS
from spillover.api_client import journal
from spillover.models import gguf_header

KEPT = Path(__file__).parent / "kept"
GOOD = (b'{"a": [1, 2, 3], "b": "word"}',)
NAMED = {reader.name: reader for reader in READERS}


def sound(path: Path) -> int:
    if b"x" in path.read_bytes():
        raise ValueError(f"{path} holds an x")
    return 1


def with_fault(fault: Callable[[Path], object]) -> Callable[[Path], object]:
    """A sound reader that meets a fault where a quote is gone."""

    def read(path: Path) -> object:
        return fault(path) if path.read_bytes().count(b'"') != 6 else sound(path)

    return read


def wait_for_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.with_name("pipe").read_bytes()


def spin(path: Path) -> None:
    while True:
        path.exists()


OUTSIDE = Path(tempfile.gettempdir()) / "spillover-fuzz-outside"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another error": (lambda path: {}["key"], "KeyError"),  # type: ignore[index]
    "a library's error": (lambda path: b"\xff".decode(), "an unclear UnicodeDecodeError"),
    "a division": (lambda path: 1 // 0, "ZeroDivisionError"),
    "a segmentation fault": (lambda path: ctypes.string_at(0), "the process ended by -11"),
    "a crash": (lambda path: os.abort(), "the process ended by -6"),
    "an exit": (lambda path: os._exit(0), "the process ended by 0"),
    "too slow": (spin, "more than 1 s of a processor"),
    "hung": (wait_for_a_pipe, "hung for 2 s"),
    "memory": (lambda path: bytearray(os.urandom(1 << 20) * 1200), "MiB of memory"),
    "outside": (lambda path: OUTSIDE.write_text("x"), "to write"),
    "a process": (lambda path: subprocess.run(["true"]), "subprocess.Popen"),
    "a shell": (lambda path: os.system("true"), "os.system"),
    "a wrong result": (lambda path: 7, "AssertionError"),
}


def is_right(result: object) -> None:
    assert result == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SECONDS", 1)
    monkeypatch.setattr(machine, "HANG", 2.0 if fault == "hung" else 120.0)
    act, told = FAULTS[fault]
    reader = Reader("planted", "in.json", lambda: GOOD, with_fault(act), is_right)
    stream, outcome = inputs(reader, seed=0), Outcome()
    batch = [data for data in (next(stream) for _ in range(60)) if data.count(b'"') != 6][:1]
    try_batch(reader, [*GOOD, *batch, *GOOD], outcome)
    OUTSIDE.unlink(missing_ok=True)
    assert [finding.data for finding in outcome.findings] == batch and told in outcome.findings[0].what
    assert outcome.counts["planted: right"] == 2  # what follows is read all the same


def test_a_sound_reader_is_left_in_peace() -> None:
    reader = Reader("sound", "in.json", lambda: GOOD, sound, is_right)
    outcome = run([reader], seconds=0.0, seed=3)
    assert not outcome.findings and outcome.counts["sound: right"] > 5 and outcome.counts["sound: clear error"] > 1


def test_the_same_seed_gives_the_same_inputs() -> None:
    reader = NAMED["chat rows"]
    first, again, other = (inputs(reader, seed) for seed in (1, 1, 2))
    drawn = [[next(stream) for _ in range(40)] for stream in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) > 20


def test_a_fault_planted_in_our_own_code_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that believes every line; a GGUF header that believes every length."""
    import json

    monkeypatch.setattr(journal, "_row", lambda line: {k: v for k, v in json.loads(line).items() if k != "crc"})
    monkeypatch.setattr(gguf_header._Reader, "expect", lambda self, size: None)
    for name, inputs_needed in (("ledgers", 400), ("GGUF headers", 400)):
        reader, outcome = NAMED[name], Outcome()
        stream = inputs(reader, seed=0)
        for _ in range(inputs_needed // 40):
            try_batch(reader, [next(stream) for _ in range(40)], outcome)
            if outcome.findings:
                break
        assert outcome.findings, name


@pytest.mark.parametrize("path", sorted(KEPT.iterdir()), ids=lambda path: path.name)
def test_what_broke_the_rule_once_does_so_no_more(path: Path) -> None:
    reader, outcome = NAMED[path.name.rpartition("-")[0].replace("-", " ")], Outcome()
    try_batch(reader, [path.read_bytes()], outcome)
    assert not outcome.findings, outcome.findings[0].what


@pytest.mark.slow
def test_a_quarter_of_a_minute_breaks_no_rule() -> None:
    began = time.monotonic()
    outcome = run(READERS, seconds=15.0, seed=int(os.environ.get("SPILLOVER_FUZZ_SEED", "0")))
    assert not outcome.findings, "\n".join(f"{finding.reader}: {finding.what}" for finding in outcome.findings)
    assert all(outcome.counts[f"{reader.name}: right"] for reader in READERS) and outcome.counts.total() > 800
    print(f"{outcome.counts.total():,} inputs in {time.monotonic() - began:.0f} s")
