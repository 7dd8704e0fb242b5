"""The machine: a tiny study with a paid judge, hurt one to three times, then run once more; what came of it is held
against the study that nothing happened to.

Held: the same bytes in every artefact, `verify` content, nothing left behind, every error one clear message, and no
reply that stands in the ledger asked for again (calls under way at a kill may be: they were not there yet).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fakes import Joined, Letters, begin, contents, hurt
from judgements.judges.faulty_server import FAULTS, Script, Server

from spillover.cli.errors import explain
from spillover.engines.local import run
from spillover.judgements.judge import Answer
from spillover.judgements.judges.endpoint.judge import Endpoint
from spillover.judgements.rubrics.built_in import BuiltInRubrics
from spillover.manifest import MANIFEST, Damaged
from spillover.store import Artefact, BuildContext, Store

ANSWERS, AT_ONCE = 12, 4
ALIGNED = BuiltInRubrics(scored=("aligned",))
OPERATIONS = 180  # file operations of a run, about
SECONDS = 0.3  # within which a kill by the clock comes
WAIT = 240.0  # seconds after which a run is taken to hang
FINISHED, CLEAR, SIGNALLED, STOPPED = "finished", "a clear error", "killed", "stopped"


class Scored(Artefact):
    """Answers scored by a paid judge, as JSON; what the service is called is no part of it."""

    judge: Endpoint

    def make(self, context: BuildContext) -> None:
        answers = [Answer(f"Question {n % 3}?", f"Answer {n}.") for n in range(ANSWERS)]
        with self.judge.at_work(context.store) as scoring:
            scores = scoring.score(answers, context.progress)
        kept = [[score.score, score.missing] for (score,) in scores]
        (context.folder / "scores.txt").write_text(json.dumps(kept))


def study(url: str) -> Joined:
    """Letters, scores, and what is made from both."""
    judge = Endpoint(model="m", base_url=url, rubrics=ALIGNED, first_wait=0.002, timeout=60.0, concurrency=AT_ONCE)
    return Joined(of=(Joined(of=(Letters(seed=1), Scored(judge=judge))), Letters(seed=2)))


@dataclass
class Round:
    """One round: what was done to the study, how each run ended, and what was wrong at the end."""

    faults: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    paid_again: int = 0


class Chaos:
    """Rounds on one server. `expected`: the artefacts of a run without faults."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.script = server, folder, server.script
        self.study = study(server.url)
        whole = Store.open(folder / "whole")
        run(self.study, whole)
        self.expected = contents(whole)

    def round(self, seed: int) -> Round:
        """One to three faults by the seed, then a run that nothing happens to."""
        draw, done = random.Random(seed), Round()
        store = Store.open(self.folder / f"round-{seed}" / "store")
        self.script.right.clear()
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(sorted(HARMS))
            done.faults.append(name)
            done.ends.append(HARMS[name](self, store, draw))
        done.ends.append(self.run(store))
        self._look(store, done)
        shutil.rmtree(self.folder / f"round-{seed}", ignore_errors=True)
        return done

    def run(
        self, store: Store, harm: Callable[[], None] = lambda: None, then: Callable[[int], None] | None = None
    ) -> str:
        """The study run in a process of its own, which `harm` prepares and `then` is done to; how it ended."""

        def action() -> None:
            warnings.simplefilter("ignore")
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            harm()
            try:
                run(self.study, Store.open(store.root))
            except BaseException as error:
                message, code = explain(error)
                if not message or "\n" in message:
                    (self.folder / "unclear.txt").write_text(f"{type(error).__name__}: {message}")
                    code = 99
                os._exit(code)
            os._exit(0)

        pid = begin(action)
        if then is not None:
            then(pid)
        until = time.monotonic() + WAIT
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return "hung"
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(ended[1])
        names = {0: FINISHED, 2: CLEAR, 9: SIGNALLED, 130: STOPPED}
        names |= dict.fromkeys((-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT), SIGNALLED)
        return names.get(code, f"exit code {code}")

    def _look(self, store: Store, done: Round) -> None:
        if done.ends[-1] != FINISHED:
            done.wrong.append(f"the last run {done.ends[-1]}")
        unclear = self.folder / "unclear.txt"
        told = unclear.read_text() if unclear.exists() else ""
        unclear.unlink(missing_ok=True)
        sound = (FINISHED, CLEAR, SIGNALLED, STOPPED)
        done.wrong += [f"a run {end} {told}" for end in done.ends[:-1] if end not in sound]
        try:
            here = contents(store)
        except Damaged as error:
            here = {}
            done.wrong.append(f"a finished artefact cannot be read: {error}")
        done.wrong += [f"{name} differs" for name in self.expected if here.get(name) != self.expected[name]]
        done.wrong += [f"{folder.name}: {lines[0]}" for folder, lines in store.verify() if lines]
        done.wrong += [f"{path.name} is left" for path in (store.root / "tmp").glob("*")]
        done.paid_again = sum(
            count - 1 for prompt, count in self.script.right.items() if "and nothing else." not in prompt[:90]
        )
        most = AT_ONCE * sum(end in (SIGNALLED, STOPPED, CLEAR) for end in done.ends) + _lost(done)
        if done.paid_again > most:
            done.wrong.append(f"{done.paid_again} replies asked for again, {most} may have been under way or damaged")


def _lost(done: Round) -> int:
    """Replies that faults to the ledger itself may have cost: a changed line is one."""
    return sum({"ledger: a byte": 1, "ledger: a line": 1, "ledger: cut off": 2}.get(name, 0) for name in done.faults)


# --- what is done to it


def _killed_at_an_operation(chaos: Chaos, store: Store, draw: random.Random) -> str:
    at = draw.randrange(OPERATIONS)
    return chaos.run(store, lambda: hurt(at, "kill"))


def _full_disk(chaos: Chaos, store: Store, draw: random.Random) -> str:
    at = draw.randrange(OPERATIONS)
    return chaos.run(store, lambda: hurt(at, "disk-full"))


def _after_a_while(number: signal.Signals) -> Callable[[Chaos, Store, random.Random], str]:
    def harm(chaos: Chaos, store: Store, draw: random.Random) -> str:
        seconds = draw.uniform(0, SECONDS)

        def send(pid: int) -> None:
            time.sleep(seconds)
            os.kill(pid, number)

        return chaos.run(store, then=send)

    return harm


def _killed_while_replies_come(chaos: Chaos, store: Store, draw: random.Random) -> str:
    """Dead within a write to the ledger, half a line written or a whole one."""
    number, part = draw.randint(1, ANSWERS), draw.random()

    def harm() -> None:
        real, count = os.write, 0

        def write(file: int, data: bytes) -> int:
            nonlocal count
            count += b'"key"' in data
            if count == number:
                real(file, data[: int(len(data) * part)])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(file, data)

        os.write = write

    return chaos.run(store, harm)


def _faulty_service(chaos: Chaos, store: Store, draw: random.Random) -> str:
    chaos.script.share, chaos.script.random = draw.uniform(0.2, 0.6), random.Random(draw.random())
    try:
        return chaos.run(store)
    finally:
        chaos.script.share = 0.0


def _service_down(chaos: Chaos, store: Store, draw: random.Random) -> str:
    """The service stops taking calls after some, and comes back for the next run."""
    left = draw.randrange(ANSWERS)
    chaos.script.fault = lambda prompt: "500" if sum(chaos.script.right.values()) >= left else None  # type: ignore[method-assign]
    try:
        return chaos.run(store)
    finally:
        del chaos.script.fault


def _changed_file(chaos: Chaos, store: Store, draw: random.Random) -> str:
    files = [path for path in sorted(store.root.glob("[A-Z]*/*/**/*")) if path.is_file()]
    if not files:
        chaos.run(store)
        files = [path for path in sorted(store.root.glob("[A-Z]*/*/**/*")) if path.is_file()]
    path = draw.choice(files)
    data = bytearray(path.read_bytes())
    match draw.randrange(5):
        case 0 if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
        case 1:
            path.write_bytes(data[: draw.randrange(len(data) + 1)])
        case 2:
            path.unlink()
        case 3:
            others = [file for file in files if file.name == path.name and file != path] or [path]
            path.write_bytes(draw.choice(others).read_bytes() + b" " * (path.name != MANIFEST))
        case _:
            path.unlink()
            os.mkfifo(path)
    return chaos.run(store)


def _changed_ledger(what: str) -> Callable[[Chaos, Store, random.Random], str]:
    def harm(chaos: Chaos, store: Store, draw: random.Random) -> str:
        if not list(store.root.glob("Scored/*")):
            chaos.run(store)
        for path in store.root.glob("ledgers/*.jsonl"):
            lines = path.read_bytes().splitlines(keepends=True)
            if len(lines) > 2:
                at = draw.randrange(1, len(lines))
                if what == "a byte":
                    line = bytearray(lines[at])
                    line[draw.randrange(len(line) - 1)] ^= 1 << draw.randrange(7)
                    lines[at] = bytes(line).replace(b"\n", b" ") + b"\n"
                elif what == "a line":
                    lines[at] = bytes(draw.randrange(256) for _ in range(40)).replace(b"\n", b" ") + b"\n"
                else:
                    lines[-1] = lines[-1][: draw.randrange(len(lines[-1]))]
                path.write_bytes(b"".join(lines))
                for folder in store.root.glob("Scored/*"):  # so that the ledger is read again
                    shutil.rmtree(folder)
        return chaos.run(store)

    return harm


def _two_at_once(chaos: Chaos, store: Store, draw: random.Random) -> str:
    other: list[str] = []

    def second(pid: int) -> None:
        other.append(chaos.run(store))

    end = chaos.run(store, then=second)
    return end if other == [FINISHED] else f"beside another that {other[0]}"


HARMS: dict[str, Callable[[Chaos, Store, random.Random], str]] = {
    "killed at a file operation": _killed_at_an_operation,
    "killed by the clock": _after_a_while(signal.SIGKILL),
    "SIGTERM": _after_a_while(signal.SIGTERM),
    "SIGINT": _after_a_while(signal.SIGINT),
    "killed within a ledger line": _killed_while_replies_come,
    "full disk": _full_disk,
    "faulty service": _faulty_service,
    "service down": _service_down,
    "artefact: a file changed": _changed_file,
    "ledger: a byte": _changed_ledger("a byte"),
    "ledger: a line": _changed_ledger("a line"),
    "ledger: cut off": _changed_ledger("cut off"),
    "two processes": _two_at_once,
}
SLOW = ("silence",)  # faults of the service that a round does not wait for


def rounds(folder: Path, count: int, first: int, seconds: float) -> Iterator[Round]:
    """So many rounds with seeds from `first` on, or as many as begin within so many seconds; one after another."""
    script = Script(faults=tuple(name for name in FAULTS if name not in SLOW))
    server, until = Server(script), time.monotonic() + seconds
    try:
        chaos = Chaos(server, folder)
        for seed in range(first, first + count):
            if time.monotonic() > until:
                break
            yield chaos.round(seed)
    finally:
        server.close()


def table(done: list[Round]) -> list[tuple[str, int, str, int]]:
    """By fault: how often, how runs under it ended, and in how many rounds with it something was wrong at the end."""
    lines = []
    for name in sorted(HARMS):
        ends = Counter(
            end for each in done for fault, end in zip(each.faults, each.ends, strict=False) if fault == name
        )
        wrong = sum(bool(each.wrong) for each in done if name in each.faults)
        told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        lines.append((name, ends.total(), told, wrong))
    return lines
