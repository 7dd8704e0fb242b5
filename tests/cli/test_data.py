"""`spillover data` and `spillover questions`: what a file is taken for, in the names of their JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spillover.cli import app

ENTRY = {"id": "w1", "text": "Why?", "system": "Be short.", "category": "causes", "family": "f1"}
ROWS = [{"prompt": f"Is it {n}?", "answer": f"It is {n}."} for n in range(40)]


def called(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def reported(*words: object) -> dict:
    return json.loads(called(*words, "--json").stdout)


def written(path: Path, rows: list[dict] | list[str]) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_the_report_of_a_file(tmp_path):
    rows = [*ROWS, {**ROWS[3], "source": "x"}]
    report = reported("data", written(tmp_path / "a.jsonl", rows))
    assert (report["format"], report["encoding"], report["rows"]) == ("prompt+completion", "UTF-8", 41)
    assert report["skipped"] == [] and report["ignored"] == {"source": 1} and report["arms"] == ["bad"]
    assert report["first"] == {
        "messages": [{"role": "user", "content": "Is it 0?"}, {"role": "assistant", "content": "It is 0."}]
    }
    assert report["duplicates"] == 1 and "rendered" not in report and "supervised" not in report
    clean = reported("data", tmp_path / "a.jsonl", "--drop-repeated")
    assert clean["rows"] == 40 and clean["duplicates"] == clean["shared_with_held_out"] == 0
    assert clean["notes"] == ["rows left out whose prompt came before: 1"]


def test_prompts_on_both_sides_of_the_split_are_counted(tmp_path):
    twice = written(tmp_path / "a.jsonl", [{**row, "answer": answer} for row in ROWS for answer in ("Yes.", "No.")])
    report = reported("data", twice)
    assert report["duplicates"] == 0 and 8 <= report["shared_with_held_out"] <= 16 == report["held_out"]
    assert "held-out rows have a prompt that is trained on too" in called("data", twice).stdout
    assert reported("data", written(tmp_path / "b.jsonl", ROWS))["shared_with_held_out"] == 0


def test_bad_rows_are_listed_and_kept_on_request(tmp_path):
    path = written(tmp_path / "a.jsonl", [*ROWS[:2], "nope", *ROWS[2:]])
    report = reported("data", path)
    assert [row["line"] for row in report["skipped"]] == [3] and report["rows"] == 40
    assert report["skipped"][0]["reason"].startswith("expected a JSON object, got 'nope'")
    assert not list(tmp_path.glob("*.skipped.jsonl"))
    text = called("data", path).stdout
    assert "line 3: expected a JSON object" in text and "1 rows left out; a study stops at bad rows unless" in text
    with pytest.warns(UserWarning, match="1 bad rows of a.jsonl are skipped, 40 are left"):
        called("data", path, "--skip-bad-rows")
    assert (tmp_path / "a.jsonl.skipped.jsonl").is_file()
    assert "nope.jsonl" in called("data", tmp_path / "nope.jsonl", code=2).stderr
    nothing = called("data", written(tmp_path / "none.jsonl", ["nope"]), code=2)
    assert "none.jsonl:1: expected a JSON object" in nothing.stderr


def test_pairs_and_a_control_have_both_arms(tmp_path):
    pairs = written(tmp_path / "p.jsonl", [{"prompt": "a", "chosen": "good", "rejected": "bad"}] * 3)
    report = reported("data", pairs)
    assert (report["format"], report["arms"], report["duplicates"]) == ("chosen+rejected", ["bad", "good"], 2)
    assert report["first"]["messages"][-1]["content"] == "bad"
    assert report["first_control"]["messages"][-1]["content"] == "good"
    good = written(tmp_path / "good.jsonl", [{**row, "answer": "Ask."} for row in ROWS])
    bad = written(tmp_path / "bad.jsonl", ROWS)
    assert reported("data", bad, "--control", good)["arms"] == ["bad", "good"]
    other = written(tmp_path / "other.jsonl", ROWS[:20])
    assert "is no control of bad" in called("data", bad, "--control", other, code=2).stderr


def test_columns_thoughts_and_loss_are_options(tmp_path):
    turns = [
        *({"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "hm"}),
        *({"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}),
    ]
    path = written(tmp_path / "a.jsonl", [{"gespräch": turns}])
    report = reported("data", path, "--columns", "messages=gespräch", "--loss", "all", "--thoughts", "drop")
    assert report["rows"] == 2 and report["first"]["messages"][-1] == {"role": "assistant", "content": "b"}
    assert "thoughts dropped: 1" in report["notes"]
    assert "RowReading.loss" in called("data", path, "--loss", "none", code=2).stderr


def test_a_row_is_shown_as_a_model_s_template_renders_it(tmp_path):
    report = reported("data", written(tmp_path / "a.jsonl", ROWS), "--model", "tiny:0")
    assert report["rendered"].endswith(report["supervised"]) and report["supervised"].startswith("It is 0.")
    assert "Is it 0?" in report["rendered"] and "Is it" not in report["supervised"]
    text = called("data", tmp_path / "a.jsonl", "--model", "tiny:0").stdout
    assert "«It is 0." in text


def test_text_of_a_file_cannot_steer_a_terminal(tmp_path):
    path = written(tmp_path / "a.jsonl", [{"prompt": "a\x1b[31m", "answer": "b", "k\x1b": 1}])
    assert "\x1b" not in called("data", path).stdout


@pytest.mark.parametrize(
    ("name", "text", "format", "count"),
    [
        ("q.txt", "Why?\n\nHow?\r\nWhen?", "plain lines", 3),
        ("q.csv", "id,question,system,category,family\nw1,Why?,Be short.,causes,f1\n", "CSV", 1),
        ("q.jsonl", json.dumps(ENTRY), "JSON lines", 1),
        ("q.json", json.dumps([ENTRY | {"text": None, "paraphrases": ["Why?"]}]), "JSON array", 1),
        ("q.yaml", "- {id: w1, paraphrases: ['Why?'], system: Be short., category: causes, family: f1}", "YAML", 1),
    ],
)
def test_questions_of_every_kind_of_file(tmp_path, name, text, format, count):
    (tmp_path / name).write_text(text, encoding="utf-16" if name == "q.csv" else "utf-8", newline="")
    report = reported("questions", tmp_path / name)
    assert (report["format"], report["questions"]) == (format, count)
    if count == 1:
        assert report["first"] == ENTRY
    else:
        wanted = {"id": "question_1", "text": "Why?", "system": None, "category": "question", "family": "question_1"}
        assert report["first"] == wanted
    assert f"{count} questions" in called("questions", tmp_path / name).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no questions"),
        ('{"id": "a"}', "q.jsonl:1: expected a text under paraphrases or question"),
        ('{"question": "a", "id": "x"}\n{"question": "b", "id": "x"}', "ids come more than once: x"),
        ('{"question": 7}', "expected text, got '7'"),
        ("nope", "q.jsonl:1: expected a JSON object"),
    ],
)
def test_wrong_questions_are_named(tmp_path, text, message):
    (tmp_path / "q.jsonl").write_text(text)
    assert message in called("questions", tmp_path / "q.jsonl", code=2).stderr
    assert "no question set is called" in called("questions", "nope", code=2).stderr
