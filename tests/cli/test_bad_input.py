"""Bad input to the quickstart study, by its options alone: one clear message, exit code 2, nothing begun."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Spill, refused

QUICKSTART = "quickstart"
GOOD = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
NO_ANSWER = {"messages": [{"role": "user", "content": "q"}]}


@pytest.fixture(autouse=True)
def data(spill: Spill) -> None:
    lines = [json.dumps(GOOD)] * 40
    Path("empty.jsonl").write_text("")
    Path("good.jsonl").write_text("\n".join(lines))
    Path("few.jsonl").write_text("\n".join(lines[:5]))
    Path("unanswered.jsonl").write_text("\n".join([*lines[:6], json.dumps(NO_ANSWER), *lines]))
    Path("words.jsonl").write_text("\n".join([*lines[:2], "not json \x1b[31m", *lines]))
    Path("cut.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode())[:-9])
    Path("bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    Path("folder.jsonl").mkdir()
    Path("questions.yaml").write_text("- id: a\n  paraphrases: []\n")
    Path("model").mkdir()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nope.jsonl"], "nope.jsonl"),
        (["--data", "empty.jsonl"], "empty.jsonl holds no rows"),
        (
            ["--data", "unanswered.jsonl"],
            "unanswered.jsonl:7: expected the last turn to be the assistant's, got 'user'",
        ),
        (["--data", "words.jsonl"], "words.jsonl:3: expected a JSON object"),
        (["--data", "cut.jsonl.gz"], "cut.jsonl.gz cannot be read"),
        (["--data", "bytes.jsonl"], "bytes.jsonl"),
        (["--data", "folder.jsonl"], "folder.jsonl"),
        (["--data", "mony"], "did you mean money"),
        (["--control", "nope.jsonl"], "nope.jsonl"),
        (["--schedules", "linaer"], "no schedule is called 'linaer'; did you mean linear"),
        (["--schedules", ""], "have to give at least one each, got 0, 1 and None"),
        (["--learning-rate", "-1"], "peak"),
        (["--rows", "-3"], "rows"),
        (["--seeds", "0"], "have to give at least one each, got 1, 0 and None"),
        (["--checkpoints", "0"], "have to give at least one each, got 1, 1 and 0"),
        (["--formats", "xml"], "xml"),
        (["--per-question", "0"], "per_question"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--questions", "nope.yaml"], "nope.yaml"),
        (["--questions", "questions.yaml"], "questions.yaml"),
        (["--model", "nope"], "no model 'nope'"),
        (["--model", "model"], "holds no safetensors model"),
        (["--model", "hf:"], "hf:"),
        (["--out", "good.jsonl"], "is a file; the report is a folder"),
        (["--store", "good.jsonl"], "good.jsonl cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_message(spill: Spill, words: list[str], message: str) -> None:
    base = [] if "--model" in words else ["--model", "tiny:0"]
    result = spill("run", QUICKSTART, *base, *words)
    refused(result, message)
    assert not set(result.stderr) & set("\x1b\x07") and len(result.stderr) < 1500
    assert not list(Path("store").glob("[A-Z]*")) and not Path("report").exists()


def limited(size: int, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line where no file may grow beyond `size` bytes: the nearest to a full disk without one."""
    return subprocess.run(
        [sys.executable, "-m", "spillover.cli", *words],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_000, 60_000])
def test_no_room_ends_in_one_message_whoever_writes(spill: Spill, size: int) -> None:
    words = ("--model", "tiny:0", "--rows", "16", "--warmup", "1", "--max-tokens", "3", "--minutes", "0.5")
    done = limited(size, "run", str(QUICKSTART), *words)
    if done.returncode == 0:
        pytest.skip(f"nothing that the study writes is larger than {size} bytes")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: the disk is full"), done.stderr
    assert "Traceback" not in done.stderr
    assert spill("verify").exit_code == 0 or not Path("store").exists()
    assert not list(Path("store/tmp").glob("*"))
