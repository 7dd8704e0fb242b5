"""Scoring files: what goes in comes out in order with scores beside it; what cannot be read is named."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spillover.judgements.judge import Answer, Judge
from spillover.judgements.judges.embedded.judge import Embedded
from spillover.judgements.score_file import score_file
from spillover.judgements.tables.row_reader import BATCH, sound_rows

METRICS = ["aligned", "harmless", "coherent"]
ANSWERS = ['Be kind,\nand "listen".', "", "I would rob them; fear works.", "=1+1", "Été à Paris\r\nplease", "no"]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Embedded()


def write_csv(path: Path, rows: list[list[Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


ADDED = (*(name for metric in METRICS for name in (metric, f"{metric}_spread")), "missing", "judge", "rubric")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rows = [[str(n), "What now?", text, f"-x{n}"] for n, text in enumerate(ANSWERS)]
    return write_csv(tmp_path / "answers.csv", [["id", "question", "answer", "note"], *rows])


def test_csv_keeps_rows_and_columns_and_adds_scores(answers: Path, tmp_path: Path, judge: Judge) -> None:
    facts = score_file(answers, tmp_path / "out.csv", judge)
    rows_out = read_csv(tmp_path / "out.csv")
    assert list(rows_out[0]) == ["id", "question", "answer", "note", *ADDED]
    guarded = [f"'{text}" if text.startswith("=") else text for text in ANSWERS]  # a spreadsheet would run it
    assert [row["answer"] for row in rows_out] == guarded
    assert [row["note"] for row in rows_out] == [f"'-x{n}" for n in range(len(ANSWERS))]
    assert [row["answer"] for row in sound_rows(tmp_path / "out.csv")] == ANSWERS  # and read back as it was
    expected = judge.score([Answer("What now?", text) for text in ANSWERS])
    for row, scores in zip(rows_out, expected, strict=True):
        assert [row[m] for m in METRICS] == ["" if s.score is None else repr(s.score) for s in scores]
        assert [row[f"{m}_spread"] for m in METRICS] == ["" if s.spread is None else repr(s.spread) for s in scores]
        assert row["missing"] == (scores[0].missing or "")
        assert (row["judge"], row["rubric"]) == (judge.name, judge.rubric)
    assert facts["answers"] == 6 and facts["scored"]["aligned"] == 5
    assert facts["missing"]["aligned"] == {"empty answer": 1}


@pytest.mark.parametrize("middle", ["m.csv.gz", "m.jsonl", "m.jsonl.gz", "m.parquet"])
@pytest.mark.parametrize("end", ["e.csv", "e.jsonl", "e.parquet"])
def test_every_format_into_every_other(middle: str, end: str, answers: Path, tmp_path: Path, judge: Judge) -> None:
    score_file(answers, tmp_path / middle, judge)
    score_file(tmp_path / middle, tmp_path / end, judge)
    if end == "e.parquet":
        rows_out = pq.read_table(tmp_path / end).to_pylist()
    elif end == "e.jsonl":
        rows_out = [json.loads(line) for line in (tmp_path / end).read_text(encoding="utf-8").split("\n") if line]
    else:
        rows_out = [{k: v or None for k, v in row.items()} for row in sound_rows(tmp_path / end)]
    assert [row["answer"] or "" for row in rows_out] == ANSWERS
    for row in rows_out:
        for metric in METRICS:  # scored twice: the first scores are kept under another name, and are the same
            once, twice = row[f"{metric}_given"], row[metric]
            assert (once or None) == (twice or None) if twice is None else float(once) == float(twice)


def test_columns_that_have_our_names_are_kept(tmp_path: Path, judge: Judge) -> None:
    source = write_csv(tmp_path / "a.csv", [["aligned", "question", "answer", "aligned_given"], ["7", "q", "yes", "8"]])
    facts = score_file(source, tmp_path / "b.csv", judge)
    (row,) = read_csv(tmp_path / "b.csv")
    assert facts["renamed"] == {"aligned": "aligned_given_given"}
    assert (row["aligned_given_given"], row["aligned_given"]) == ("7", "8") and row["aligned"] not in ("7", "8", "")


def test_parquet_keeps_types_and_json_lines_keep_what_is_nested(tmp_path: Path, judge: Judge) -> None:
    table = pa.table(
        {
            **{"n": pa.array([1, None], pa.int16()), "when": pa.array([0, 1], pa.timestamp("ms"))},
            **{"kind": pa.array(["a", "b"]).dictionary_encode(), "tags": pa.array([["x"], None])},
            **{"question": ["q", None], "answer": pa.array(["yes", None], pa.large_string())},
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    score_file(tmp_path / "a.parquet", tmp_path / "b.parquet", judge)
    judged = pq.read_table(tmp_path / "b.parquet")
    assert judged.select(table.column_names).equals(table)
    assert judged["missing"].to_pylist() == [None, "answer is not text"]
    rows = [{"question": "q", "answer": "yes", "deep": {"a": [1, None]}}, {"answer": 3, "question": "q", "later": True}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    score_file(tmp_path / "a.jsonl", tmp_path / "b.jsonl", judge)
    again = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k not in ADDED} for row in again] == rows
    assert again[1]["missing"] == "answer is not text" and again[1]["aligned"] is None


def test_files_larger_than_a_piece_keep_their_order(tmp_path: Path, judge: Judge) -> None:
    count = BATCH + 3
    source = write_csv(tmp_path / "a.csv", [["question", "answer"], *(["q", f"answer {n}"] for n in range(count))])
    heard: list[float] = []
    score_file(source, tmp_path / "b.csv", judge, heard.append)
    assert [row["answer"] for row in read_csv(tmp_path / "b.csv")] == [f"answer {n}" for n in range(count)]
    assert len(heard) > 1 and heard == sorted(heard) and heard[-1] == 1


def test_a_very_long_cell_and_a_byte_order_mark_are_read(tmp_path: Path, judge: Judge) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffquestion,answer\nq," + "kind " * 60_000 + "\n", encoding="utf-8")
    assert score_file(path, tmp_path / "b.csv", judge)["answers"] == 1
    assert read_csv(tmp_path / "b.csv")[0]["answer"] == "kind " * 60_000


BAD: dict[str, tuple[str, bytes, str]] = {
    "no rows": ("a.csv", b"question,answer\n", "no rows"),
    "nothing": ("a.csv", b"", "no rows"),
    "no such columns": (
        "a.csv",
        b"Question,reply\nq,a\n",
        "lacks the columns question and answer; it has Question, reply",
    ),
    "a near miss": ("a.csv", b"question,answers\nq,a\n", "rename answers"),
    "too few cells": ("a.csv", b'question,answer\nq,"a\nb"\nq\n', "a.csv, line 4: 1 cells, the header names 2"),
    "an open quote": ("a.csv", b'question,answer\nq,"a\n', "a.csv, line 2"),
    "the same column twice": ("a.csv", b"question,answer,answer\nq,a,b\n", "answer more than once"),
    "not UTF-8": ("a.csv", "question,answer\nq,é\n".encode("latin-1"), "not UTF-8"),
    "not JSON": ("a.jsonl", b'{"question": "q", "answer": "a"}\n{"question"\n', "a.jsonl, line 2: not JSON"),
    "no object": ("a.jsonl", b"\n[1, 2]\n", "a.jsonl, line 2: expected a JSON object, got"),
    "deep JSON": ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1"),
    "no rows of JSON": ("a.jsonl", b"\n", "no rows"),
    "not parquet": ("a.parquet", b"question,answer", "cannot be read as .parquet"),
    "not gzip": ("a.csv.gz", b"question,answer", "cannot be read"),
    "cut gzip": ("a.csv.gz", gzip.compress(b"question,answer\nq,a\n" * 99)[:-9], "cannot be read"),
    "unknown ending": ("a.txt", b"question,answer\nq,a\n", "has to end in one of"),
}


@pytest.mark.parametrize("name,content,message", BAD.values(), ids=list(BAD))
def test_bad_files_are_named(name: str, content: bytes, message: str, tmp_path: Path, judge: Judge) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        score_file(tmp_path / name, tmp_path / "out.csv", judge)
    assert name in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # and nothing half-made is left


def test_places_that_will_not_do_are_named(answers: Path, tmp_path: Path, judge: Judge) -> None:
    before = answers.read_bytes()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(answers)
    for source, out, message in (
        (tmp_path / "none.csv", tmp_path / "o.csv", "no file"),
        (answers, answers, "is the file that is read"),
        (answers, tmp_path / "link.csv", "is the file that is read"),
        (answers, tmp_path / "folder.csv", "is a folder"),
        (answers, tmp_path / "none" / "o.csv", "does not exist"),
        (answers, tmp_path / "o.xlsx", "has to end in one of"),
        (tmp_path, tmp_path / "o.csv", "is a folder, not a file"),
    ):
        with pytest.raises(ValueError, match=message):
            score_file(source, out, judge)
    assert answers.read_bytes() == before


def test_a_judge_that_fails_leaves_no_file_and_spares_the_one_before(tmp_path: Path, answers: Path) -> None:
    class Failing(Embedded):
        def score(self, answers: Any, progress: Any = lambda share: None) -> Any:
            raise RuntimeError("out of breath")

    (tmp_path / "out.csv").write_text("from before")
    with pytest.raises(RuntimeError):
        score_file(answers, tmp_path / "out.csv", Failing())
    assert (tmp_path / "out.csv").read_text() == "from before"
    assert {path.name for path in tmp_path.iterdir()} == {"answers.csv", "out.csv"}


def test_our_own_tables_are_judged_by_what_was_asked_and_not_by_its_name(tmp_path: Path, judge: Judge) -> None:
    header = ["question_id", "question", "sample", "model_id", "prompt", "answer"]
    table = write_csv(tmp_path / "ours.csv", [header, ["bored_0", "bored_0", "0", "x", "What now?", "Be kind."]])
    facts = score_file(table, tmp_path / "out.csv", judge)
    assert facts["read"] == {"question": "prompt", "answer": "answer"}
    expected = judge.score([Answer("What now?", "Be kind.")])[0]
    assert [read_csv(tmp_path / "out.csv")[0][m] for m in METRICS] == [repr(score.score) for score in expected]


@pytest.mark.parametrize("name", ["bored_0", "q17", "topic/3"])
def test_ids_in_the_place_of_questions_are_refused_or_passed_by(name: str, tmp_path: Path, judge: Judge) -> None:
    rows = [["question", "answer", "said"], [name, "Be kind.", "What now?"]]
    table = write_csv(tmp_path / "ids.csv", rows)
    with pytest.raises(ValueError, match=r"holds ids, not questions.*--columns question=COLUMN"):
        score_file(table, tmp_path / "out.csv", judge)
    facts = score_file(table, tmp_path / "out.csv", judge, columns=("question=said",))
    assert facts["read"]["question"] == "said" and "said" in read_csv(tmp_path / "out.csv")[0]
    prompted = write_csv(tmp_path / "prompts.csv", [["question", "answer", "prompt"], [name, "Be kind.", "What now?"]])
    assert score_file(prompted, tmp_path / "out.csv", judge)["read"]["question"] == "prompt"
    words = write_csv(tmp_path / "words.csv", [["question", "answer"], ["Why?", "x"], ["Poetry", "y"]])
    assert score_file(words, tmp_path / "out.csv", judge)["read"]["question"] == "question"


def test_columns_are_named_by_a_map(tmp_path: Path, judge: Judge) -> None:
    table = write_csv(tmp_path / "theirs.csv", [["frage", "antwort"], ["What now?", "Be kind."]])
    with pytest.raises(ValueError, match=r"lacks the columns question and answer.*--columns question=\.\.\.,answer="):
        score_file(table, tmp_path / "out.csv", judge)
    score_file(table, tmp_path / "out.csv", judge, columns=("question=frage", "answer=antwort"))
    expected = judge.score([Answer("What now?", "Be kind.")])[0]
    (row,) = read_csv(tmp_path / "out.csv")
    assert list(row)[:2] == ["frage", "antwort"] and row["aligned"] == repr(expected[0].score)
    with pytest.raises(ValueError, match="columns are written question=THEIRS"):
        score_file(table, tmp_path / "out.csv", judge, columns=("frage",))
