"""The record beside a finished artefact: its spec, each file's size and SHA-256, its own seal."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from spillover.regular_files import unlike_a_file

MANIFEST = "manifest.json"
LARGEST = 64 << 20  # bytes of a manifest
SETTLED = 2e9  # nanoseconds: a file changed just now may change again within one tick of the file system's clock
Manifest = dict[str, Any]  # spec, fingerprint, summary, units, files, needs, facts, made; plain JSON
_Types = type | tuple[type, ...]
FileStats = dict[str, list[int]]  # by a file's name: what would change if someone wrote to it


class Damaged(ValueError):
    """A finished artefact whose bytes are not those its manifest names."""


def read_manifest(folder: Path, artefact: bool = True) -> Manifest:
    """The manifest of a finished artefact; Damaged where a byte of it is not as it was written.

    artefact: whether it has to be one of an artefact; a kept state of training has files and facts of its own alone.
    """
    try:
        if (kind := unlike_a_file(folder / MANIFEST)) is not None:
            raise Damaged(f"{MANIFEST}: is {kind}, not a file")
        if (folder / MANIFEST).stat().st_size > LARGEST:
            raise Damaged(f"{MANIFEST}: more than {LARGEST >> 20} MiB, which no manifest has")
        text = (folder / MANIFEST).read_bytes()
        data: Manifest = json.loads(text)
        del data["seal"]
    except Damaged:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{MANIFEST}: cannot be read") from None
    if text != _sealed(data):
        raise Damaged(f"{MANIFEST}: not as it was written")
    if (
        wrong := (artefact and _unlike_a_manifest(data)) or _unlike_files(data)
    ) is not None:  # sealed by someone else than us
        raise Damaged(f"{MANIFEST}: {wrong}")
    return data


def write_manifest(folder: Path, data: Manifest) -> None:
    """Write `data` with its seal as the folder's manifest."""
    plain = json.loads(json.dumps(data))  # as it will be read: keys are texts, tuples lists
    (folder / MANIFEST).write_bytes(_sealed(plain))


def checksums(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size in bytes and SHA-256 of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def files_digest(manifest: Manifest) -> str:
    """One SHA-256 over the names, sizes and digests of an artefact's files."""
    return hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()


def damage(folder: Path, contents: bool, trusted: FileStats | None = None, artefact: bool = True) -> list[str]:
    """What differs from the manifest: files gone, of another size, or (if `contents`) of another SHA-256.

    A file whose stats are those in `trusted` is not read again. `artefact` as in `read_manifest`.
    """
    try:
        files = read_manifest(folder, artefact)["files"]
    except Damaged as error:
        return [str(error)]
    wrong = []
    for name, expected in files.items():
        path = folder / name
        try:
            if (kind := unlike_a_file(path)) is not None:
                wrong.append(f"{name}: is {kind}, not a file")
            elif not path.is_file():
                wrong.append(f"{name}: deleted")
            elif path.stat().st_size != expected["bytes"]:
                wrong.append(f"{name}: {path.stat().st_size} bytes, {expected['bytes']} were written")
            elif contents and (trusted or {}).get(name) != _stats(path) and file_sha256(path) != expected["sha256"]:
                wrong.append(f"{name}: contents changed")
        except (OSError, ValueError) as error:
            wrong.append(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})")
    return wrong


def intact(folder: Path, record: Path) -> bool:
    """Whether every byte is as it was made. What was read is noted in `record`; it is read again only if it changed."""
    now, before = _file_stats(folder), _read_file_stats(record)
    if damage(folder, contents=True, trusted=before):
        return False
    if now != before and all(time.time_ns() - max(stats[1:3]) > SETTLED for stats in now.values()):
        with contextlib.suppress(OSError):  # a store that cannot be written can still be read
            record.parent.mkdir(exist_ok=True)
            record.write_text(json.dumps(now))
    return True


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """`file_sha256`, read again in this process only where the file's size or time of change is another."""
    stat = path.stat()
    return _remembered(str(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _remembered(path: str, size: int, changed: int) -> str:
    return file_sha256(Path(path))


def sync(path: Path) -> None:
    """Have the disk hold a file, or a folder's list of its files."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` everything below a folder, and the folder."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def plain_modes(folder: Path) -> None:
    """Give every file the mode of the manifest, a plain file: safetensors writes its own for its owner alone."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        path.chmod((folder / MANIFEST).stat().st_mode)


def _unlike_a_manifest(data: Manifest) -> str | None:
    """What a sealed file lacks to be a manifest; None where it has it all."""
    kinds: dict[str, _Types] = {
        **{"spec": dict, "fingerprint": str, "summary": str, "units": (int, float), "files": dict},
        **{"needs": dict, "facts": dict, "made": dict},
    }
    wrong = [name for name, kind in kinds.items() if not isinstance(data.get(name), kind)]
    made = data["made"] if isinstance(data.get("made"), dict) else {}
    told: dict[str, _Types] = {"finished": str, "seconds": (int, float), "versions": dict}
    wrong += [f"made.{name}" for name, kind in told.items() if not isinstance(made.get(name), kind)]
    if wrong:
        return f"no manifest of an artefact: {', '.join(wrong)} is not there or of another type"
    return None


def _unlike_files(data: Manifest) -> str | None:
    """What is wrong with the files that it names; None where nothing is."""
    if not isinstance(data.get("files"), dict):
        return "it names no files"
    for name, file in data["files"].items():
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            return f"it names a file outside its folder, {name!r:.200}"
        if not isinstance(file, dict) or type(file.get("bytes")) is not int or not isinstance(file.get("sha256"), str):
            return f"it says nothing of the file {name!r:.200}"
    return None


def _file_stats(folder: Path) -> FileStats:
    stats = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            if path.is_file():
                stats[path.relative_to(folder).as_posix()] = _stats(path)
    return stats


def _read_file_stats(record: Path) -> FileStats:
    try:
        stats = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return stats if isinstance(stats, dict) else {}


def _stats(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]  # ctime: no program can set it back


def _sealed(data: Manifest) -> bytes:
    seal = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**data, "seal": seal}, indent=1, sort_keys=True) + "\n").encode()
