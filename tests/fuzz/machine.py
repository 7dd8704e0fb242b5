"""The machine: changes of good inputs by a seed, each read in a process that may be hurt, held to one rule.

The rule: a clear error or a right result; never another kind of error, more than `SECONDS` of a processor, more than
`MEMORY`, a file written outside its folder, a process started, a connection opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECONDS, MEMORY = 10, 1 << 30
HANG = 90.0  # seconds without a word from the process that reads: it waits for something
BATCH = 40  # inputs that one process reads
UNCLEAR = (UnicodeError, json.JSONDecodeError)  # kinds of ValueError that libraries raise: they name no file
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "socket.connect")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
TOKENS: tuple[bytes, ...] = (
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"0",
        b"9" * 400,
        b"9" * 5000,
        b"1.5",
        b'""',
        b"[]",
        b"{}",
    ),
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\x1b[2J",
        b"\r",
        b"\n\n",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b"\\",
    ),
    *(
        b"[" * 3000,
        b"{" * 300,
        b"../",
        b"/etc/passwd",
        b"=1+1",
        b"<script>",
        b"&a [*a]",
        b"*a",
        b"!!python/name:os.system",
    ),
    *(
        b",",
        b":",
        b"- ",
        b"\t",
        b"\x7fELF",
        b"PK\x03\x04",
        b"\x80\x04.",
        b"\x1f\x8b",
        b"x" * 70_000,
        (2**63).to_bytes(8, "little"),
    ),
)


@dataclass(frozen=True)
class Reader:
    """What is tried: good inputs, and a function that reads one from a file in a folder of its own.

    check: AssertionError where what was read is no right result. clear: errors besides ValueError that are clear.
    """

    name: str
    file: str
    good: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    check: Callable[[object], None] = lambda result: None
    clear: tuple[type[BaseException], ...] = ()


@dataclass
class Finding:
    """An input that broke the rule, and how."""

    reader: str
    what: str
    data: bytes


@dataclass
class Outcome:
    """What came of a run: inputs and results by reader, and what was found."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def changed(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A good input with one to six changes: bits, bytes, pieces left out, doubled, put in, or of another input."""
    content = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        at = draw.randrange(len(content) + 1)
        length = draw.choice((1, 1, 2, 4, 16, 200))
        match draw.randrange(8):
            case 0 if content:
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = content[at : at + length] * draw.choice((1, 2, 50))
            case 3 | 4:
                content[at:at] = draw.choice(TOKENS)
            case 5:
                token = draw.choice(TOKENS)
                content[at : at + len(token)] = token
            case 6:
                other = draw.choice(others)
                start = draw.randrange(len(other) + 1)
                content[at : at + length] = other[start : start + draw.choice((4, 40, 400))]
            case 7:
                del content[at:]
    return bytes(content)


def inputs(reader: Reader, seed: int) -> Iterator[bytes]:
    """Inputs for a reader without end, the good ones first: the same for the same seed."""
    good = list(reader.good())
    yield from good
    draw = random.Random(f"{reader.name} {seed}")
    while True:
        yield changed(draw.choice(good), good, draw)


def judged(reader: Reader, data: bytes, folder: Path, seen: list[str]) -> str:
    """How a reader took an input: `right`, `clear error`, or what broke the rule."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    seen.clear()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.check(reader.read(path))
        outcome = "right"
    except (ValueError, *reader.clear) as error:
        unclear = isinstance(error, UNCLEAR) and not isinstance(error, reader.clear)
        outcome = f"an unclear {_told(error)}" if unclear else "clear error"
    except BaseException as error:
        outcome = _told(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return seen[0] if seen else outcome


def _told(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:120]} ({Path(place.filename).name}:{place.lineno})"


class _TooSlow(BaseException):
    """The time of one input is over."""


def _slow(*signal: object) -> None:
    raise _TooSlow(f"more than {SECONDS} s of a processor")


def _watch(folder: Path, seen: list[str]) -> None:
    """Note what no reader may do; for the whole life of this process."""
    inside = (str(folder), os.devnull)

    def within(path: object) -> bool:
        return isinstance(path, str) and os.path.abspath(path).startswith(inside)

    def hook(event: str, words: tuple[object, ...]) -> None:
        if event in STARTS:
            seen.append(f"{event} {str(words)[:80]}")
        elif event == "open" and isinstance(words[2], int) and words[2] & WRITES and not within(words[0]):
            seen.append(f"opened {words[0]!r} to write")

    sys.addaudithook(hook)


def _read_batch(reader: Reader, batch: Sequence[bytes], folder: Path, out: int) -> None:
    """In a process of its own: a line for each input begun, and one for what came of it."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (size + 4 * MEMORY, size + 4 * MEMORY)
    )  # of addresses, of which few are used
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _slow)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    seen: list[str] = []
    _watch(folder, seen)
    for number, data in enumerate(batch):
        os.write(out, f"{number}\n".encode())
        place = folder / str(number)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = judged(reader, data, place, seen)
        if (more := (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10) > MEMORY:
            outcome = f"{more >> 20} MiB of memory"
        os.write(out, f"{number} {' '.join(outcome.split())}\n".encode("utf-8", "replace"))
        shutil.rmtree(place, ignore_errors=True)


def try_batch(reader: Reader, batch: Sequence[bytes], outcome: Outcome) -> None:
    """Read inputs in a process that may die of them; what one that died was reading is found, and the rest is read."""
    while batch:
        with tempfile.TemporaryDirectory(prefix="spillover-fuzz-") as folder:
            lines, ended = _in_a_process(
                lambda out, batch=batch, folder=folder: _read_batch(reader, batch, Path(folder), out)
            )
        done = -1
        for line in lines:
            number, _, told = line.partition(" ")
            if not told:
                continue
            done = int(number)
            outcome.counts[f"{reader.name}: {told if told in ('right', 'clear error') else 'broke the rule'}"] += 1
            if told not in ("right", "clear error"):
                outcome.findings.append(Finding(reader.name, told, batch[done]))
        if done == len(batch) - 1:
            return
        outcome.counts[f"{reader.name}: broke the rule"] += 1
        outcome.findings.append(Finding(reader.name, ended, batch[done + 1]))
        batch = batch[done + 2 :]


def _in_a_process(action: Callable[[int], None]) -> tuple[list[str], str]:
    """The lines that the action wrote, and how its process ended."""
    ready, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        with contextlib.suppress(BaseException):
            action(out)
        os._exit(0)
    os.close(out)
    text, heard = b"", time.monotonic()
    os.set_blocking(ready, False)
    while True:
        try:
            part = os.read(ready, 1 << 16)
            if not part:
                break
            text, heard = text + part, time.monotonic()
        except BlockingIOError:
            if time.monotonic() - heard > HANG:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
    os.close(ready)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    hung = time.monotonic() - heard > HANG
    return text.decode().splitlines(), f"hung for {HANG:g} s" if hung else f"the process ended by {code}"


def run(readers: Sequence[Reader], seconds: float, seed: int) -> Outcome:
    """Try all readers in turn for about so long."""
    outcome, until = Outcome(), time.monotonic() + seconds
    streams = {reader.name: inputs(reader, seed) for reader in readers}
    tried = 0  # batches: every reader has one at least
    while True:
        for reader in readers:
            stream = streams[reader.name]
            try_batch(reader, [next(stream) for _ in range(BATCH)], outcome)
            tried += 1
            if time.monotonic() > until and tried >= len(readers):
                return outcome
