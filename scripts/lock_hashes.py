"""Write `requirements-hashed.txt`: what the quickstart installs, at its version in constraints.txt, with the SHA-256 of
the file that pip takes for this platform. Nothing is installed; no index is named.

    python scripts/lock_hashes.py [requirements-hashed.txt]

`pip install --require-hashes --no-deps -r requirements-hashed.txt` then takes these files and no others.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

CHECKOUT = Path(__file__).resolve().parents[1]
CONSTRAINTS = CHECKOUT / "constraints.txt"


def main() -> None:
    """Ask pip what it would install, and write it down."""
    out = Path(sys.argv[1]) if sys.argv[1:] else CHECKOUT / "requirements-hashed.txt"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--no-binary", "spillover", "--report", str(report)]
        subprocess.run([*command, "-c", str(CONSTRAINTS), "torch", str(CHECKOUT)], check=True)
        entries = json.loads(report.read_text())["install"]
    lines = sorted(line for entry in entries if (line := requirement(entry)))
    if missing := [line for line in lines if "--hash" not in line]:
        raise SystemExit(f"no hash is known of {', '.join(missing)}")
    out.write_text(f"{head()}\n" + "\n".join(lines) + "\n")
    print(f"{len(lines)} files, {out}")


def requirement(entry: dict) -> str:
    """A line for one file that pip would install; empty for this project itself."""
    name, version = entry["metadata"]["name"], entry["metadata"]["version"]
    if name == "spillover":
        return ""
    info = entry["download_info"]
    digest = info.get("archive_info", {}).get("hashes", {}).get("sha256")
    parts = urlsplit(info["url"])
    if digest is None and parts.scheme == "file":
        digest = hashlib.sha256(Path(url2pathname(parts.path)).read_bytes()).hexdigest()
    name = re.sub(r"[-_.]+", "-", name).lower()
    return f"{name}=={version}" + (f" --hash=sha256:{digest}" if digest else "")


def head() -> str:
    """What the file is of."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"# What the quickstart installs on {platform.system()} {platform.machine()}, {python}: each file's SHA-256\n"
        f"# (make hashes writes it anew). Another platform, Python or build of torch has other files, and is refused."
    )


if __name__ == "__main__":
    main()
