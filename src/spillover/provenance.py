"""Where and when something was made: commit, versions, time; nothing here enters a fingerprint."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import spillover

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "numpy", "scipy", "scikit-learn", "pyarrow")


@functools.cache
def commit() -> str | None:
    """The commit of the source tree this runs from, with `+changes` where it differs; None outside a checkout."""
    here = Path(spillover.__file__).resolve().parent
    try:
        head = _git(here, "rev-parse", "HEAD")
        dirty = _git(here, "status", "--porcelain", "--", str(here))  # a part not yet added is a change too
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if dirty else "")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of spillover and of the libraries that shape results, where installed."""
    installed = {"python": platform.python_version(), "spillover": spillover.__version__}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def provenance(seconds: float) -> dict[str, Any]:
    """The record that stands in a manifest under `made`: when, how long (seconds), by which code, on what."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        "commit": commit(),
        "versions": versions(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "process": os.getpid(),
    }


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
