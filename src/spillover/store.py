"""One folder per artefact, finished or absent: get, has, find, verify. Knows specs and files only.

An artefact is made in a folder under `tmp/`, every file is synced, `manifest.json` is written last, and the folder
is renamed into place: what stands at its final name is finished. The manifest holds the spec, each file's size and
SHA-256, the digests of what it was made from, and its own seal. A lock per fingerprint lets processes share a store.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillover.provenance import provenance
from spillover.spec import Spec, decode, encode, walk

MANIFEST = "manifest.json"
Tick = Callable[[float], None]


class Damaged(ValueError):
    """A finished artefact whose bytes are not those its manifest names."""


class Artefact(Spec):
    """A spec that can be made and kept: its files are a function of its fields and of the artefacts inside them."""

    @abstractmethod
    def make(self, work: Work) -> dict[str, Any] | None:
        """Write this artefact's files into `work.folder`; return facts for the manifest (plain JSON)."""

    def units(self) -> float:
        """How much work making it is, in the kind's own units (tokens, prompts); for the estimate of time."""
        return 1.0

    def seconds_per_unit(self) -> float:
        """Seconds a unit takes on two cores, where the store holds no measurement yet."""
        return 1.0

    def needs(self) -> tuple[Artefact, ...]:
        """The nearest artefacts inside the fields: what has to be there before this can be made."""
        found: dict[str, Artefact] = {}

        def visit(spec: Spec) -> None:
            for child in spec.children():
                if isinstance(child, Artefact):
                    found[child.fingerprint] = child
                else:
                    visit(child)

        visit(self)
        return tuple(found.values())


@dataclass(frozen=True)
class Work:
    """What `make` is handed: an empty folder to write into, the store to read from, and a way to report progress."""

    folder: Path
    store: Store
    tick: Tick

    def of(self, artefact: Artefact) -> Path:
        """The folder of a finished artefact."""
        return self.store.path(artefact)


@dataclass(frozen=True)
class Store:
    """A folder of finished artefacts, `<root>/<kind>/<fingerprint>/`."""

    root: Path

    def path(self, artefact: Artefact) -> Path:
        """Where the artefact stands once it is finished."""
        return self.root / artefact.kind / artefact.fingerprint

    def has(self, artefact: Artefact) -> bool:
        """Whether the artefact is finished and its files have the sizes its manifest names (contents: `verify`)."""
        return (self.path(artefact) / MANIFEST).exists() and not damage(self.path(artefact), contents=False)

    def manifest(self, artefact: Artefact) -> dict[str, Any]:
        """The manifest of a finished artefact; Damaged where it cannot be read."""
        return read_manifest(self.path(artefact))

    def get(self, artefact: Artefact, tick: Tick = lambda share: None) -> Path:
        """The artefact's folder; made now, with all it needs, where absent. `tick` hears the share done, 0 to 1."""
        for needed in artefact.needs():
            self.get(needed)
        with self.lock(artefact):
            if not self.sound(artefact):
                self._make(artefact, tick)
        return self.path(artefact)

    def sound(self, artefact: Artefact, contents: bool = False) -> bool:
        """Whether it is finished, undamaged, and made from the very bytes that its needs have now."""
        folder = self.path(artefact)
        if not (folder / MANIFEST).exists() or damage(folder, contents):
            return False
        made_from = read_manifest(folder)["needs"]
        return all(self._digest(needed) == made_from.get(needed.fingerprint) for needed in artefact.needs())

    def discard(self, artefact: Artefact) -> None:
        """Take an artefact away (a damaged one, or one that was made from it); a later `get` makes it again."""
        with self.lock(artefact):
            self._remove(self.path(artefact))

    def find(self, kind: str | None = None) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Folders and manifests of finished artefacts, oldest first; what cannot be read is left to `verify`."""
        found = []
        for path in self.root.glob(f"{kind or '[A-Z]*'}/*/{MANIFEST}"):
            with contextlib.suppress(Damaged):
                found.append((path.parent, read_manifest(path.parent)))
        yield from sorted(found, key=lambda item: (item[1]["made"]["finished"], str(item[0])))

    def verify(self, tick: Callable[[Path], None] = lambda folder: None) -> Iterator[tuple[Path, list[str]]]:
        """Every artefact's folder with what is wrong with it, file by file; the list is empty where all is well."""
        for folder in sorted(path for path in self.root.glob("[A-Z]*/*") if path.is_dir()):
            tick(folder)
            wrong = damage(folder, contents=True)
            if not wrong and decode(read_manifest(folder)["spec"]).fingerprint != folder.name:
                wrong = [f"{MANIFEST}: its spec has another fingerprint than the folder's name"]
            yield folder, wrong

    @contextlib.contextmanager
    def lock(self, artefact: Artefact) -> Iterator[None]:
        """Hold the artefact's lock: one process makes it, others wait. The lock falls with the process that held it."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / f"{artefact.kind}-{artefact.fingerprint}", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _make(self, artefact: Artefact, tick: Tick) -> None:
        temporary = self.root / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        for left in temporary.glob(f"{artefact.fingerprint}-*"):  # ours to clear: we hold the lock
            shutil.rmtree(left)
        folder = temporary / f"{artefact.fingerprint}-making"
        folder.mkdir()
        began = time.monotonic()
        try:
            facts = artefact.make(Work(folder, self, tick)) or {}
            manifest = {
                "spec": encode(artefact),
                "fingerprint": artefact.fingerprint,
                "summary": artefact.summary(),
                "units": artefact.units(),
                "files": checksums(folder),
                "needs": {needed.fingerprint: self._digest(needed) for needed in artefact.needs()},
                "facts": facts,
                "made": provenance(time.monotonic() - began),
            }
            write_manifest(folder, manifest)
            _sync_tree(folder)
            final = self.path(artefact)
            final.parent.mkdir(exist_ok=True)
            self._remove(final)
            os.rename(folder, final)
            _sync(final.parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _remove(self, folder: Path) -> None:
        if folder.exists():
            doomed = self.root / "tmp" / f"{folder.name}-removed"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)
            os.rename(folder, doomed)
            shutil.rmtree(doomed)

    def _digest(self, artefact: Artefact) -> str:
        return hashlib.sha256(json.dumps(self.manifest(artefact)["files"], sort_keys=True).encode()).hexdigest()


def open_store(root: Path | str) -> Store:
    """The store at `root`, created where absent; ValueError where it cannot be written."""
    path = Path(root).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"the store {path} cannot be written ({error.strerror}): give another with --store") from None
    return Store(path)


def artefacts_in(spec: Spec) -> list[Artefact]:
    """Every artefact inside a spec and the spec itself, each once, what is needed first."""
    return [node for node in walk(spec) if isinstance(node, Artefact)]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished artefact; Damaged where it is not the one that was written."""
    try:
        data: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        seal = data.pop("seal")
    except (OSError, ValueError, KeyError, AttributeError):
        raise Damaged(f"{folder / MANIFEST} cannot be read") from None
    if seal != _seal(data):
        raise Damaged(f"{folder / MANIFEST} is not as it was written")
    return data


def write_manifest(folder: Path, data: dict[str, Any]) -> None:
    """Write `data` with its seal as the folder's manifest."""
    (folder / MANIFEST).write_text(json.dumps(data | {"seal": _seal(data)}, indent=1, sort_keys=True) + "\n")


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def damage(folder: Path, contents: bool) -> list[str]:
    """What differs from the manifest: files gone, of another size, or (if `contents`) of another SHA-256."""
    try:
        files = read_manifest(folder)["files"]
    except Damaged as error:
        return [str(error)]
    wrong = []
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name}: deleted")
        elif path.stat().st_size != expected["bytes"]:
            wrong.append(f"{name}: {path.stat().st_size} bytes, {expected['bytes']} were written")
        elif contents and file_sha256(path) != expected["sha256"]:
            wrong.append(f"{name}: contents changed")
    return wrong


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _seal(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
