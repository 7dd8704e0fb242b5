"""One folder per artefact, finished or absent: get, has, manifests, verify.

An artefact is made in a folder under `tmp/`, every file is synced, `manifest.json` is written last, and the folder
is renamed into place: what stands at its final name is finished. The manifest holds the spec, each file's size and
SHA-256, the digests of what it was made from, and its own seal. A lock per fingerprint lets processes share a store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Self

from spillover.manifest import (
    MANIFEST,
    Damaged,
    Manifest,
    checksums,
    damage,
    files_digest,
    intact,
    plain_modes,
    read_manifest,
    sync,
    sync_tree,
    write_manifest,
)
from spillover.provenance import provenance
from spillover.sources_of_parts import changed_parts, part_sources
from spillover.spec import Spec, encode, walk

ProgressFn = Callable[[float], None]
LogFn = Callable[[str], None]


@dataclass(frozen=True)
class Cost:
    """How much work making an artefact is, for the estimate of time and tokens before a study starts.

    units: of work, in the kind's own measure (tokens, prompts, rows), with which time grows. seconds_per_unit: on two
    cores, where the store holds no measurement yet. tokens: that go through a model, about; 0 where none do.
    token_use: what is done with them, in a word or two (`trained`, `read`).
    """

    units: float = 1.0
    seconds_per_unit: float = 1.0
    tokens: float = 0.0
    token_use: str = ""


class Artefact(Spec):
    """A spec that can be made and kept: its files are a function of its fields and of the artefacts inside them."""

    runs_a_network: ClassVar[bool] = False  # an engine gives it a device
    made_early: ClassVar[bool] = False  # before all that it does not need: what hangs on several is then made together

    @abstractmethod
    def make(self, context: BuildContext) -> Manifest | None:
        """Write this artefact's files into `context.folder`; return facts for the manifest (plain JSON)."""

    def cost(self) -> Cost:
        """How much work making it is."""
        return Cost()

    @classmethod
    def shared_work(cls, todo: Sequence[Self]) -> Mapping[str, float]:
        """Of artefacts of this kind made in this order, by fingerprint: the share of the work, 0 to 1, that making an
        earlier one does for it."""
        return {}

    @classmethod
    def paid_work(cls, todo: Sequence[Self], store: Store) -> list[str]:
        """What making these artefacts of this kind takes of paid services, a line for people for each service."""
        return []

    def value(self, store: Store) -> Any:
        """What a finished artefact is to whoever loads it: a table, arrays, results; its folder where it is no more."""
        return store.path(self)

    def needs(self) -> tuple[Artefact, ...]:
        """The nearest artefacts inside the fields: what has to be there before this can be made."""
        needs: dict[str, Artefact] = {}

        def visit(spec: Spec) -> None:
            for child in spec.children():
                if isinstance(child, Artefact):
                    needs[child.fingerprint] = child
                else:
                    visit(child)

        visit(self)
        return tuple(needs.values())


@dataclass(frozen=True)
class BuildContext:
    """What `make` is handed: an empty folder to write into, the store to read from, and ways to report progress."""

    folder: Path
    store: Store
    progress: ProgressFn
    log: LogFn = lambda text: None  # lines for whoever watches
    upcoming: Sequence[Artefact] = ()  # what is to be made after this; keeping something for it saves time, no more

    def path(self, artefact: Artefact) -> Path:
        """The folder of a finished artefact."""
        return self.store.path(artefact)


@dataclass(frozen=True)
class Store:
    """A folder of finished artefacts, `<root>/<kind>/<fingerprint>/`."""

    root: Path

    @classmethod
    def open(cls, root: Path | str) -> Self:
        """The store in folder `root`, created where absent; ValueError where it can be neither written nor read.

        One that may only be read gives what is finished in it; making something there is a ValueError.
        """
        path = Path(root).expanduser().absolute()
        try:
            if not (path.is_dir() and os.access(path, os.R_OK | os.X_OK)):
                path.mkdir(parents=True, exist_ok=True)
                if not os.access(path, os.R_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "no permission")
        except OSError as error:
            raise ValueError(_not_written(path, error.strerror or str(error))) from None
        return cls(path)

    @property
    def writable(self) -> bool:
        """Whether something can be made in it."""
        return os.access(self.root, os.W_OK | os.X_OK)

    def path(self, artefact: Artefact) -> Path:
        """Where the artefact stands once it is finished."""
        return self.root / artefact.kind / artefact.fingerprint

    def has(self, artefact: Artefact) -> bool:
        """Whether the artefact is finished and its files have the sizes its manifest names (contents: `sound`)."""
        return not damage(self.path(artefact), contents=False)

    def unfinished(self, artefact: Artefact) -> Path:
        """Where making it may keep what a next start goes on from; gone when it is finished."""
        return self.root / "unfinished" / f"{artefact.kind}-{artefact.fingerprint}"

    def edited(self, artefact: Artefact) -> list[str]:
        """Kinds in a finished artefact whose source was edited since it was made; none where it is not there."""
        try:
            made = self.manifest(artefact)["made"]
        except Damaged:
            return []
        return changed_parts(artefact, Artefact, made.get("sources"))

    def manifest(self, artefact: Artefact) -> Manifest:
        """The manifest of a finished artefact; Damaged where it cannot be read."""
        return read_manifest(self.path(artefact))

    def get(self, artefact: Artefact, progress: ProgressFn = lambda share: None) -> Path:
        """The artefact's folder; made now, with all it needs, where absent. `progress` hears the share done, 0 to 1."""
        for needed in artefacts_in(artefact)[:-1]:
            self.make(needed)
        self.make(artefact, progress)
        return self.path(artefact)

    def make(
        self,
        artefact: Artefact,
        progress: ProgressFn = lambda share: None,
        waiting: Callable[[], None] = lambda: None,
        log: LogFn = lambda text: None,
        upcoming: Sequence[Artefact] = (),
    ) -> bool:
        """Make the artefact from its needs, which are there, unless it is sound; whether it was made just now.

        `waiting` is called where another process holds it; `log` hears lines for whoever watches; `upcoming` is made
        after it.
        """
        with self.lock(artefact, waiting):
            if self.sound(artefact):
                return False
            self._make(artefact, progress, log, upcoming)
            return True

    def intact(self, artefact: Artefact) -> bool:
        """Whether it is finished and every byte as it was made. A file is read again only if it changed since."""
        return intact(self.path(artefact), self._seen(self.path(artefact)))

    def sound(self, artefact: Artefact) -> bool:
        """Whether it is intact, and made from the very bytes that its needs have now."""
        if not self.intact(artefact):
            return False
        manifest = self.manifest(artefact)
        return (manifest["fingerprint"], manifest["needs"]) == (artefact.fingerprint, self.digests(artefact))

    def discard(self, artefact: Artefact) -> None:
        """Take an artefact away; a later `get` makes it again."""
        with self.lock(artefact):
            self._remove(self.path(artefact))

    def manifests(self, kind: str | None = None) -> Iterator[tuple[Path, Manifest]]:
        """Folders and manifests of finished artefacts, oldest first; what cannot be read is left to `verify`."""
        manifests = []
        for path in self.root.glob(f"{kind or '[A-Z]*'}/*/{MANIFEST}"):
            with contextlib.suppress(Damaged):
                manifests.append((path.parent, read_manifest(path.parent)))
        yield from sorted(manifests, key=lambda pair: (pair[1]["made"]["finished"], str(pair[0])))

    def folders(self, digits: str = "") -> list[Path]:
        """Folders where finished artefacts stand, those whose fingerprint begins with the digits; in order."""
        return sorted(path for path in self.root.glob(f"[A-Z]*/{digits}*") if path.is_dir())

    def verify(self) -> Iterator[tuple[Path, list[str]]]:
        """Every artefact's folder with what is wrong with it, file by file; the list is empty where all is well."""
        for folder in self.folders():
            wrong = _of_another(folder) or damage(folder, contents=True)
            if wrong:  # the next `sound` reads every file again
                with contextlib.suppress(OSError):
                    self._seen(folder).unlink(missing_ok=True)
            yield folder, wrong

    def leftovers(self, remove: bool = False) -> list[Path]:
        """What killed processes left under `tmp/`, or kept of what is finished now; taken away with `remove`."""
        folders = sorted([*self.root.glob("tmp/*-*-*"), *self._kept(finished=True)])
        return [folder for folder in folders if self._left(folder, remove)]

    def begun(self) -> list[Path]:
        """What is kept of artefacts whose making was stopped, in order; a next start goes on from it."""
        return [path for path in self._kept(finished=False) if self._left(path)]

    def _kept(self, finished: bool) -> list[Path]:
        kept = sorted(self.root.glob("unfinished/*-*"))
        return [path for path in kept if (self.root / path.name.replace("-", "/")).exists() == finished]

    def _left(self, folder: Path, remove: bool = False) -> bool:
        """Whether no live process works on the artefact that the folder belongs to; then it is taken away if asked."""
        if not self.writable:
            return not remove  # whoever may only read cannot tell
        with open(self._lock_file(*folder.name.split("-")[:2]), "a") as handle:
            free = _held(handle)
            if free and remove:
                shutil.rmtree(folder, ignore_errors=True)
        return free

    @contextlib.contextmanager
    def lock(self, artefact: Artefact, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the artefact's lock: one process makes it, others wait. The lock falls with the process that held it."""
        if not self.writable and self.root.is_dir():  # nothing is made here, by us at least
            yield
            return
        with open(self._lock_file(artefact.kind, artefact.fingerprint), "a") as handle:
            if not _held(handle):
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def lock_if_free(self, artefact: Artefact) -> Iterator[bool]:
        """Hold the artefact's lock if no process has it; whether it is held."""
        with open(self._lock_file(artefact.kind, artefact.fingerprint), "a") as handle:
            yield _held(handle)

    def _make(self, artefact: Artefact, progress: ProgressFn, log: LogFn, upcoming: Sequence[Artefact]) -> None:
        if not self.writable:
            raise ValueError(_not_written(self.root, "no permission"))
        name = f"{artefact.kind}-{artefact.fingerprint}"
        for left in (self.root / "tmp").glob(f"{name}-*"):  # ours to clear: we hold the lock
            shutil.rmtree(left)
        folder = self.root / "tmp" / f"{name}-making"
        folder.mkdir(parents=True)
        began = time.monotonic()
        try:
            made_from = self.digests(artefact)
            facts = artefact.make(BuildContext(folder, self, progress, log, upcoming)) or {}
            manifest = {
                "spec": encode(artefact),
                "fingerprint": artefact.fingerprint,
                "summary": artefact.summary(),
                "units": artefact.cost().units,
                "files": checksums(folder),
                "needs": made_from,
                "facts": facts,
                "made": provenance(time.monotonic() - began) | {"sources": part_sources(artefact, Artefact)},
            }
            write_manifest(folder, manifest)
            plain_modes(folder)
            sync_tree(folder)
            final = self.path(artefact)
            final.parent.mkdir(exist_ok=True)
            self._remove(final)
            os.rename(folder, final)
            sync(final.parent)
            shutil.rmtree(self.unfinished(artefact), ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _remove(self, folder: Path) -> None:
        if folder.exists():
            doomed = self.root / "tmp" / f"{folder.parent.name}-{folder.name}-removed"
            doomed.parent.mkdir(exist_ok=True)
            shutil.rmtree(doomed, ignore_errors=True)
            os.rename(folder, doomed)
            shutil.rmtree(doomed)

    def digests(self, artefact: Artefact) -> dict[str, str | None]:
        """What the artefact's needs consist of now, by fingerprint; None for one that is not there."""
        digests: dict[str, str | None] = {}
        for needed in artefact.needs():
            digests[needed.fingerprint] = None
            with contextlib.suppress(Damaged):
                digests[needed.fingerprint] = files_digest(self.manifest(needed))
        return digests

    def _seen(self, folder: Path) -> Path:
        return self.root / "seen" / f"{folder.parent.name}-{folder.name}"

    def _lock_file(self, kind: str, fingerprint: str) -> Path:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return locks / f"{kind}-{fingerprint}"


def artefacts_in(spec: Spec) -> list[Artefact]:
    """Every artefact inside a spec and the spec itself, each once, what is needed first."""
    return [node for node in walk(spec) if isinstance(node, Artefact)]


def _not_written(root: Path, reason: str) -> str:
    return f"the store {root} cannot be written ({reason}): give another with --store"


def _of_another(folder: Path) -> list[str]:
    """What to tell of a folder whose manifest is sound, and that of another artefact; empty where it is not."""
    with contextlib.suppress(Damaged):
        manifest = read_manifest(folder)
        if (manifest["fingerprint"], manifest["spec"].get("kind")) != (folder.name, folder.parent.name):
            return [f"{MANIFEST}: it is that of another artefact than the folder's name says"]
    return []


def _held(handle: IO[str]) -> bool:
    """Take the lock on an open file if no other process has it; whether it was taken."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
