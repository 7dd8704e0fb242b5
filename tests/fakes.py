"""A study of fake artefacts that are made in no time, and a child process that can be hurt."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from spillover.engines.local import run
from spillover.manifest import MANIFEST, read_manifest
from spillover.store import Artefact, BuildContext, Store

LOG = "made.log"  # beside the artefacts: one line for every time one was made


class Letters(Artefact):
    """A few files that follow from a seed."""

    seed: int
    seconds: float = 0.0

    def make(self, context: BuildContext) -> dict[str, Any]:
        _note(context, self)
        (context.folder / "parts").mkdir()
        for number in range(2):
            context.progress(number / 2)
            time.sleep(self.seconds / 2)
            text = hashlib.sha256(f"{self.seed} {number}".encode()).hexdigest()
            (context.folder / "parts" / f"{number}.txt").write_text(text * 40)
        return {"letters": 2, 10: "ten", 9: "nine"}


class Joined(Artefact):
    """The letters of others, one after another; with `moody`, other bytes at every making."""

    of: tuple[Artefact, ...]
    moody: bool = False
    seconds: float = 0.0

    def make(self, context: BuildContext) -> None:
        _note(context, self)
        time.sleep(self.seconds)
        files = [path for part in self.of for path in sorted(context.path(part).rglob("*.txt"))]
        text = "".join(path.read_text() for path in files) + (os.urandom(8).hex() if self.moody else "")
        (context.folder / "all.txt").write_text(text)
        (context.folder / "count.txt").write_text(str(len(text)))


def diamond(seconds: float = 0.0, moody: bool = False) -> Joined:
    """Two sets of letters, two artefacts made from one and both of them, one on top."""
    first, second = (Letters(seed=seed, seconds=seconds) for seed in (1, 2))
    left = Joined(of=(first,), moody=moody, seconds=seconds)
    return Joined(of=(left, Joined(of=(first, second), seconds=seconds)), seconds=seconds)


def chain() -> Joined:
    """Letters, what is made from them, and what is made from that: small."""
    return Joined(of=(Joined(of=(Letters(seed=1),)),))


def made(store: Store) -> list[str]:
    """Fingerprints in the order in which they were made, again and again where they were."""
    path = store.root / LOG
    return path.read_text().split() if path.exists() else []


def contents(store: Store) -> dict[str, bytes]:
    """Every file of every finished artefact by its path; manifests without when and where they were made."""
    files = {}
    for folder in sorted(store.root.glob("[A-Z]*/*")):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(store.root).as_posix()
                manifest = {k: v for k, v in read_manifest(folder).items() if k != "made"}
                files[name] = repr(manifest).encode() if path.name == MANIFEST else path.read_bytes()
    return files


def child(action: Callable[[], None]) -> int:
    """Do something in a forked process; its exit code, or minus the signal that ended it."""
    pid = begin(action)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def begin(action: Callable[[], None]) -> int:
    """A forked process that does something; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        action()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


Harm = Literal["kill", "disk-full"]
_WRITES = ("os.mkdir", "os.rename")


def hurt(at: int, harm: Harm) -> None:
    """From now on: die before the file operation number `at`, or have no room for it and any after it.

    File operations are what Python's audit events name: open, rename, remove, mkdir, rmdir, flock; and fsync.
    """
    count = -1
    fsync = os.fsync

    def operation(writes: bool) -> None:
        nonlocal count
        count += 1
        if count >= at and harm == "kill":
            os._exit(9)
        if count >= at and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and "/store" in str(arguments[0]):
            operation(bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "fcntl.flock"):
            operation(event in _WRITES)

    def synced(handle: int) -> None:
        operation(True)
        fsync(handle)

    os.fsync = synced
    sys.addaudithook(hook)


def operations(fresh: Callable[[], Callable[[], None]]) -> int:
    """How many file operations an action does: each call of `fresh` prepares one, and a child does it."""

    def ends_before(at: int) -> bool:
        action = fresh()
        return child(lambda: (hurt(at, "kill"), action())) == 0

    low, high = 0, 1
    while not ends_before(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if ends_before(middle) else (middle, high)
    return high


def files_of(store: Store, artefact: Artefact) -> Iterator[Path]:
    """Every file of a finished artefact, its manifest too."""
    yield from sorted(path for path in store.path(artefact).rglob("*") if path.is_file())


def make(root: Path, study: Artefact) -> None:
    """Make a study by the engine, in a store at `root`."""
    run(study, Store.open(root))


def _note(context: BuildContext, artefact: Artefact) -> None:
    handle = os.open(context.store.root / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{artefact.fingerprint}\n".encode())
    os.close(handle)
