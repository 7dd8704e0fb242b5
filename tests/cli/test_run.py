"""`spillover run`: a recipe's parameters as options, the plan, where the report goes, answers to mistakes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from fakes import Joined, Letters, made

from spillover.store import Store

from .conftest import Spill, refused

# --- a recipe's parameters


def test_help_shows_the_recipes_own_parameters(spill: Spill) -> None:
    text = spill("run", "letters.py", "--help").stdout
    assert "Usage: spillover run letters.py" in text and "Join letters." in text and "No part" not in text
    for option in (
        "--seeds",
        "--names",
        "--peak-rate",
        "--mode",
        "--quick / --no-quick",
        "--note",
        "--store",
        "--plan",
    ):
        assert option in text
    assert "how many sets of letters" in text and "[default: a, b]" in text and "<fast|slow>" in text


def test_help_without_a_recipe_says_what_one_is(spill: Spill) -> None:
    for words in (("run",), ("run", "--help")):
        result = spill(*words)
        assert result.exit_code == 0 and "RECIPE" in result.stdout and "recipe()" in result.stdout
    refused(spill("run", "--plan"), "Missing argument 'RECIPE'")


def test_parameters_reach_the_recipe(spill: Spill) -> None:
    assert "given: 1 ('a', 'b') () 0.5 'fast' False None" in spill("run", "letters.py", "--plan").stdout
    words = ["--seeds", 3, "--names", "x, y", "--names=z", "--numbers", "1,2", "--peak-rate", "1e-3", "--mode", "slow"]
    result = spill("run", "letters.py", *words, "--quick", "--note", "--x", "--plan")
    assert "given: 3 ('x', 'y', 'z') (1, 2) 0.001 'slow' True '--x'" in result.stdout
    assert "given: 2" in spill("run", "--store", "elsewhere", "--plan", "letters.py", "--seeds", "2").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sed", "3"], "No such option: --sed"),
        (["--seeds", "three"], "Invalid value for '--seeds'"),
        (["--numbers", "1,b"], "--numbers takes ints, got 1, b"),
        (["--mode", "medium"], "'medium' is not one of 'fast', 'slow'"),
        (["--seeds"], "requires an argument"),
        (["more"], "unexpected extra argument"),
    ],
)
def test_a_mistaken_option_is_one_message(spill: Spill, words: list[str], message: str) -> None:
    refused(spill("run", "letters.py", *words), message)


def test_near_matches_are_named(spill: Spill) -> None:
    assert "--seeds" in spill("run", "letters.py", "--sed", "3").stderr
    refused(spill("run", "leters.py"), "no recipe leters.py; did you mean letters.py?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no function recipe()"),
        ("def recipe(:\n", "bad.py, line 1: "),
        ("import nothing_of_the_kind\ndef recipe(): ...", "bad.py, line 1: ModuleNotFoundError"),
        ("def recipe():\n    return 1 / 0\n", "bad.py, line 2: ZeroDivisionError"),
        ("def recipe():\n    return 'a report'\n", "returns one artefact (a report, say), got str"),
        ("def recipe(*, store=1): ...", "has a parameter 'store'"),
        ("def recipe(engine='v8'): ...", "has a parameter 'engine'"),
        ("def recipe(**more): ...", "takes *more"),
        ("def recipe(x: dict = {}): ...", "parameter 'x' is <class 'dict'>; an option can be"),
        ("def recipe(x: int | str = 1): ...", "parameter 'x' is int | str"),
        (
            "from spillover.spec import kind_named\ndef recipe():\n    return kind_named('Lineer')",
            "did you mean Linear",
        ),
        ("from spillover.models.catalogue import base_of\ndef recipe():\n    return base_of('tiny:0')", "got Base"),
    ],
)
def test_a_recipe_that_is_none_is_one_message(spill: Spill, text: str, message: str) -> None:
    Path("bad.py").write_text(text)
    refused(spill("run", "bad.py"), message)


def test_files_beside_a_recipe_can_be_imported(spill: Spill) -> None:
    Path("beside_it.py").write_text("from fakes import Letters\n")
    Path("mine.py").write_text("from beside_it import Letters\ndef recipe():\n    return Letters(seed=5)\n")
    assert spill("run", "mine.py").exit_code == 0 and Store(Path("store")).has(Letters(seed=5))


# --- the plan, the store, the report


def test_plan_makes_nothing_and_says_what_is_there(spill: Spill) -> None:
    result = spill("run", "letters.py", "--seeds", 2, "--plan")
    assert "3 of 3 to make, about 3.0 s" in result.stdout and not Path("store").exists() and not Path("report").exists()
    spill("run", "letters.py", "--seeds", 1)
    lines = spill("run", "letters.py", "--seeds", 2, "--plan").stdout.splitlines()
    assert lines[1].startswith("✓") and Letters(seed=0).fingerprint[:8] in lines[1]
    assert lines[2].startswith(" ") and lines[-1].startswith("2 of 3 to make")
    (Store(Path("store")).path(Letters(seed=0)) / "parts" / "0.txt").write_text("")
    text = spill("run", "letters.py", "--plan").stdout
    assert "\n! " in text and "\n? " in text and "damaged" in text


def test_the_last_line_is_the_path_of_the_report(spill: Spill) -> None:
    result = spill("run", "letters.py", "--out", "there/it is")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1] == "there/it is"
    assert (Path("there/it is") / "all.txt").is_file()
    (Path("there/it is") / "index.html").write_text("")
    assert "2 of 2 artefacts to make" in result.stderr and "[2/2] Joined" in result.stderr
    again = spill("run", "letters.py", "--out", "there/it is")
    assert "all 2 artefacts are there" in again.stderr and len(made(Store(Path("store")))) == 2
    assert not (Path("there/it is") / "index.html").exists()  # what is not of this report does not stay


def test_a_page_is_named_where_there_is_one(spill: Spill) -> None:
    Path("page.py").write_text(
        "from spillover.store import Artefact\n"
        "class Paged(Artefact):\n"
        "    def make(self, context):\n"
        "        (context.folder / 'index.html').write_text('x')\n"
        "def recipe():\n    return Paged()\n"
    )
    assert spill("run", "page.py").stdout.splitlines()[-1] == "report/index.html"


def test_the_store_can_be_given_by_the_environment(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLOVER_STORE", "other")
    spill("run", "letters.py")
    assert Path("other/Joined").is_dir() and not Path("store").exists()


def test_other_peoples_files_are_not_lost_to_a_report(spill: Spill) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years")
    refused(spill("run", "letters.py", "--out", "mine"), "holds files that are not a report")
    refused(spill("run", "letters.py", "--out", "."), "holds files that are not a report")
    refused(spill("run", "letters.py", "--out", "letters.py"), "is a file; the report is a folder")
    refused(spill("run", "letters.py", "--out", "/proc/report"), "cannot be written")
    assert Path("mine/thesis.txt").read_text() == "years" and not Path("store").exists()  # refused before work began


# --- what goes wrong while it works


def test_a_store_that_cannot_be_written(spill: Spill) -> None:
    refused(spill("run", "letters.py", "--store", "letters.py"), "letters.py cannot be written (File exists)")
    refused(spill("run", "letters.py", "--store", "/proc/store"), "/proc/store cannot be written")


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/s/x"), "the disk is full (/s/x): make room", 2),
        (OSError(errno.EFBIG, "File too large"), "the disk is full: make room", 2),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full", 2),
        (PermissionError(errno.EACCES, "Permission denied", "/s/x"), "no permission to read or write (/s/x)", 2),
        (OSError(errno.EROFS, "Read-only file system", "/s/x"), "no permission to read or write (/s/x)", 2),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/s/x"), "No such file or directory (/s/x)", 2),
        (ValueError("row 7: expected this, got \x1b[31mthat\x07"), "row 7: expected this, got \ufffd[31mthat\ufffd", 2),
        (MemoryError(), "not enough memory", 2),
        (ImportError("no ray"), "a package is missing (no ray)", 2),
        (KeyboardInterrupt(), "stopped; the same command goes on from here", 130),
        (RuntimeError("a bug"), "unexpected RuntimeError: a bug\nSPILLOVER_DEBUG=1 shows where", 1),
    ],
)
def test_every_error_is_one_message_and_leaves_nothing_half_made(
    spill: Spill, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str, code: int
) -> None:
    real = Joined.make

    def fails(self: Joined, context: object) -> None:
        real(self, context)
        raise error

    monkeypatch.setattr(Joined, "make", fails)
    refused(spill("run", "letters.py"), message, code=code)
    store = Store(Path("store"))
    assert not store.path(Joined(of=(Letters(seed=0),))).exists() and not list((store.root / "tmp").iterdir())
    assert not Path("report").exists()
    monkeypatch.undo()
    os.chdir(store.root.absolute().parent)


def test_debug_shows_where(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPILLOVER_DEBUG", "1")
    Path("bad.py").write_text("def recipe():\n    return 1 / 0\n")
    assert "Traceback" in spill("run", "bad.py").stderr


def test_a_damaged_artefact_is_made_again_without_a_word_to_type(spill: Spill) -> None:
    spill("run", "letters.py")
    path = Store(Path("store")).path(Letters(seed=0)) / "parts" / "1.txt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"!")
    assert spill("verify").exit_code == 1
    result = spill("run", "letters.py")
    assert result.exit_code == 0 and "(1 damaged)" in result.stderr and path.read_bytes() == whole
    assert spill("verify").exit_code == 0
