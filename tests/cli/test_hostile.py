"""Hostile and odd input by the command line: one clear message in our words, no key repeated, nothing run."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spillover.interactive.text import CleanRecord
from spillover.judgements.naming import judge_named

from .conftest import Spill, refused

ROW = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
ZEROS = bytes(1 << 20)


def zipped(size: int) -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        for _ in range(size):
            file.write(ZEROS)
    return packed.getvalue()


def bomb_of(unit: bytes, times: int, compress: object) -> bytes:
    return compress.compress(unit * times)  # type: ignore[attr-defined,no-any-return]


def parquet_bomb() -> bytes:
    """Ten thousand rows that share one text of 100 kB, which lies there once."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), pa.array(["x" * 100_000]))
    out = io.BytesIO()
    pq.write_table(pa.table({"prompt": text.cast(pa.large_string()), "completion": ["y"] * 10_000}), out)
    return out.getvalue()


DATA = {
    "bomb.jsonl.gz": (lambda: zipped(80), "that unpack to more than 64,000,000, which no file of rows does"),
    "bomb.jsonl.bz2": (lambda: bomb_of(ZEROS, 80, bz2), "that unpack to more than 64,000,000"),
    "bomb.jsonl.xz": (lambda: bomb_of(ZEROS, 80, lzma), "that unpack to more than 64,000,000"),
    "bomb.parquet": (parquet_bomb, "bytes"),
    "long.jsonl": (lambda: b'{"prompt": "' + b"x" * 5_000_000 + b'"}\n', "a record of 5,000,014 characters"),
    "digits.jsonl": (lambda: b'{"prompt": ' + b"1" * 5000 + b"}\n", "an integer of thousands of digits"),
    "array.json": (lambda: b'[{"prompt": ' + b"1" * 5000 + b"}]", "line 1: an integer of thousands of digits"),
    "twice.jsonl": (lambda: b'{"prompt": "a", "prompt": "b"}\n', "the key 'prompt' comes twice in one object"),
    "deep.jsonl": (lambda: b'{"prompt": ' + b"[" * 50_000 + b"\n", "nested too deeply"),
    "empty.jsonl": (lambda: ROW.replace('"q"', '" "').encode(), "turn 1: the user's turn is empty"),
    "wide.csv": (
        lambda: ",".join(f"c{number}" for number in range(100_000)).encode() + b"\n1\n",
        "1 cells, the header names 100000 columns",
    ),
    "nul\0.jsonl": (None, "it holds a NUL character"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_files_are_bounded_and_said_in_our_words(name: str, spill: Spill) -> None:
    make, message = DATA[name]
    if make is not None:
        Path(name).write_bytes(make())
    began = time.process_time()
    result = spill("data", name)
    assert message in result.output and "Traceback" not in result.output and "unexpected" not in result.output
    assert result.exit_code == 2 or "1 bad" in result.output
    assert time.process_time() - began < 10


QUESTIONS = {
    "loop.yaml": ("- &a\n  id: x\n  paraphrases: [*a]\n", "it refers to itself"),
    "laughs.yaml": (
        "- &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"- &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "values, those that are referred to",
    ),
    "twice.yaml": ("- id: x\n  id: y\n  paraphrases: [q]\n", "the key 'id' comes twice"),
    "deep.yaml": ("[" * 100_000, "nest"),
    "deeper.yaml": ("{a: " * 100_000, "nested too deeply"),
    "digits.yaml": (f"- id: {'1' * 5000}\n  paraphrases: [q]\n", "an integer of thousands of digits"),
    "long.txt": ("x" * 2_000_000, "a question of 2,000,000 characters"),
    "python.yaml": ("- !!python/object/apply:os.system ['touch ran']\n", "is not YAML"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_question_files_are_bounded(name: str, spill: Spill) -> None:
    text, message = QUESTIONS[name]
    Path(name).write_text(text)
    began = time.process_time()
    refused(spill("questions", name), message)
    assert time.process_time() - began < 10 and not Path("ran").exists()


@pytest.mark.parametrize(
    "row",
    ['{"question": "q", "answer": "a", "answer": "b"}', f'{{"question": "q", "answer": {"1" * 5000}}}', "[" * 99999],
)
def test_answers_to_judge_are_read_strictly(row: str, spill: Spill) -> None:
    Path("in.jsonl").write_text(row + "\n")
    refused(spill("judge", "in.jsonl", "--out", "out.csv"), "in.jsonl, line 1: not JSON (")
    assert not Path("out.csv").exists()


def test_a_bomb_of_answers_to_judge_is_bounded(spill: Spill) -> None:
    for name in ("in.jsonl.gz", "in.csv.gz"):
        Path(name).write_bytes(zipped(80))
        refused(spill("judge", name, "--out", "out.csv"), name)


def test_cells_that_a_spreadsheet_would_run_are_quoted_and_read_back(spill: Spill) -> None:
    cells = ["=1+1", "+x", "-x", "@x", "\tx", "-1.5", "plain"]
    with open("in.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["question", "answer", "=note"], *([f"{cell}?", f"{cell} y", cell] for cell in cells)]
        )
    assert spill("judge", "in.csv", "--out", "out.csv").exit_code == 0
    with open("out.csv", newline="") as file:
        written = list(csv.reader(file))
    runs = [cell for row in written for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert runs == ["-1.5"] and "'=note" in written[0]
    assert spill("judge", "out.csv", "--out", "again.csv").exit_code == 0
    with open("again.csv", newline="") as file:
        assert [row[1] for row in csv.reader(file)] == [row[1] for row in written]


@pytest.mark.parametrize(
    "url",
    [
        "https://user:sk-very-secret@host/v1",
        "https://host/v1?key=sk-very-secret",
        "user:sk-very-secret@host",
        "ftp://sk-very-secret@host/v1",
    ],
)
def test_a_url_that_may_hold_a_key_is_not_repeated(url: str, spill: Spill) -> None:
    Path("in.csv").write_text("question,answer\nq,a\n")
    result = spill("judge", "in.csv", "--out", "out.csv", "--judge", "endpoint", "--model", "m", "--base-url", url)
    refused(result, "base_url: ")
    assert "secret" not in result.output


@pytest.mark.parametrize("words", ["endpoint:", "endpoint: ", "endpoint:mode=integer", "endpoint:m 'x", "two-phase:"])
def test_a_judge_without_a_model_is_said(words: str) -> None:
    with pytest.raises(ValueError, match=r"MODEL|two-phase") as caught:
        judge_named(words)
    assert "unpack" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys\nsys.exit(3)\n", "ends.py, line 2: sys.exit(3) ended the recipe before it gave a study"),
        ("def recipe():\n    raise SystemExit\n", "ends.py, line 2: sys.exit() ended the recipe"),
        ("class Odd(BaseException): pass\ndef recipe():\n    raise Odd('so')\n", "ends.py, line 3: Odd: so"),
        ("x = '\0'\n", "ends.py: source code string cannot contain null bytes"),
    ],
)
def test_a_recipe_that_ends_all_is_said(body: str, message: str, spill: Spill) -> None:
    Path("ends.py").write_text(body)
    refused(spill("run", "ends.py"), message)


def test_a_study_too_large_to_plan_is_refused(spill: Spill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spillover.cli.recipe.MOST_PARTS", 300)
    refused(
        spill("run", "letters.py", "--seeds", "1000000", "--plan"), "more than 300 parts: letters.py makes a larger"
    )


def test_what_libraries_log_steers_no_terminal() -> None:
    record = CleanRecord(
        "transformers", logging.WARNING, "f", 1, "\x1b[1mREPORT\x1b[0m %s \x1b]0;x\x07", ("a\x1b[2J",), None
    )
    assert record.getMessage() == "REPORT a\ufffd[2J \ufffd]0;x\ufffd"
    logging.setLogRecordFactory(CleanRecord)
    try:
        stream = io.StringIO()
        logger = logging.getLogger("spillover.test")
        logger.addHandler(logging.StreamHandler(stream))
        logger.warning("\x1b[2J")
        assert stream.getvalue() == "\ufffd[2J\n"
    finally:
        logging.setLogRecordFactory(logging.LogRecord)


def test_json_of_rows_is_still_read(spill: Spill) -> None:
    Path("good.jsonl").write_text(ROW * 3 + json.dumps({"prompt": "x", "completion": "y"}) + "\n")
    assert spill("data", "good.jsonl").exit_code == 0
