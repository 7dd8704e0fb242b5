"""What is installed is pinned: the hashed list is that of constraints.txt, and names files by digest and no index."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^\s;]+) --hash=sha256:([0-9a-f]{64})")


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>\[; ]", text)[0]).lower()


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {name_of(line): line.split("==")[1] for line in lines if line and not line.startswith("#")}


def hashed() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements-hashed.txt").read_text().splitlines() if not line.startswith("#")]
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches) and len(lines) == len({match[1] for match in matches if match})
    return {match[1]: match[2].split("+")[0] for match in matches if match}  # a build of torch has a name of its own


def test_every_file_that_the_quickstart_installs_is_pinned_by_digest() -> None:
    pinned = constraints()
    assert {name: version for name, version in hashed().items() if pinned.get(name, version) != version} == {}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {name_of(text) for text in needed} - {"pip"} <= set(hashed())


@pytest.mark.parametrize("name", ["requirements-hashed.txt", "constraints.txt"])
def test_no_list_names_an_index(name: str) -> None:
    assert not re.search(r"://|index-url|find-links", (ROOT / name).read_text())


def test_the_audit_says_where_it_knows_nothing(tmp_path: Path) -> None:
    """A pip-audit that reaches no service, one that knows a hole, and one that knows of none."""
    package = tmp_path / "pip_audit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for body, code, words in (
        ("print('x 1.0 could not be audited')", 2, "could not be asked"),
        ("import sys; sys.exit('ConnectionError: no route')", 2, "could not be asked"),
        ("import sys; print('x 1.0 PYSEC-1'); print('Found 1', file=sys.stderr); sys.exit(1)", 1, "Found 1"),
        ("pass", 0, "no known holes"),
    ):
        (package / "__main__.py").write_text(body)
        command = [sys.executable, str(ROOT / "scripts" / "audit.py")]
        done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
        assert done.returncode == code and words in done.stdout + done.stderr
