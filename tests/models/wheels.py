"""Wheels made on the spot, so that fetching runs the real pip without a package index."""

from __future__ import annotations

import zipfile
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\nRequires-Dist: nothing-that-exists-anywhere\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> Path:
    """A wheel of version 1.0.0 with one file in it, which needs a package that does not exist."""
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{stem}-1.0.0.dist-info/METADATA", METADATA.format(name=name))
        archive.writestr(f"{stem}-1.0.0.dist-info/WHEEL", WHEEL)
        archive.writestr(f"{stem}-1.0.0.dist-info/RECORD", "")
    return path
