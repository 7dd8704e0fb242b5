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

MANIFEST = "manifest.json"
SETTLED = 2e9  # nanoseconds: a file changed just now may change again within one tick of the file system's clock
Manifest = dict[str, Any]  # spec, fingerprint, summary, units, files, needs, facts, made; plain JSON
FileStats = dict[str, list[int]]  # by a file's name: what would change if someone wrote to it


class Damaged(ValueError):
    """A finished artefact whose bytes are not those its manifest names."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished artefact; Damaged where a byte of it is not as it was written."""
    try:
        text = (folder / MANIFEST).read_bytes()
        data: Manifest = json.loads(text)
        del data["seal"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Damaged(f"{MANIFEST}: cannot be read") from None
    if text != _sealed(data):
        raise Damaged(f"{MANIFEST}: not as it was written")
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


def damage(folder: Path, contents: bool, trusted: FileStats | None = None) -> list[str]:
    """What differs from the manifest: files gone, of another size, or (if `contents`) of another SHA-256.

    A file whose stats are those in `trusted` is not read again.
    """
    try:
        files = read_manifest(folder)["files"]
    except Damaged as error:
        return [str(error)]
    wrong = []
    for name, expected in files.items():
        path = folder / name
        try:
            if not path.is_file():
                wrong.append(f"{name}: deleted")
            elif path.stat().st_size != expected["bytes"]:
                wrong.append(f"{name}: {path.stat().st_size} bytes, {expected['bytes']} were written")
            elif contents and (trusted or {}).get(name) != _stats(path) and file_sha256(path) != expected["sha256"]:
                wrong.append(f"{name}: contents changed")
        except OSError as error:
            wrong.append(f"{name}: cannot be read ({error.strerror})")
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
