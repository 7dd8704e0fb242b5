"""Chat rows from files: what loads, and that every bad row is named with file, line, what came, what was expected."""

import gzip
import json

import pytest

from spillover.models.chat import Message
from spillover.organisms.dataset import dataset_named
from spillover.organisms.datasets.chat_file import ChatFile, read_chat_rows

USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}
GOOD = json.dumps({"messages": [USER, ANSWER]})


def written(path, *lines: str):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(*turns) -> str:
    return json.dumps({"messages": list(turns)})


def test_plain_gzip_bom_and_windows_line_ends_give_the_same_rows(tmp_path):
    text = row(USER, ANSWER) + "\n\n" + row({"role": "user", "content": "Käse\u2028?"}, ANSWER) + "\n"
    wanted = None
    for name, data in {
        "plain.jsonl": text.encode(),
        "named-wrongly.jsonl": gzip.compress(text.encode()),
        "packed.jsonl.gz": gzip.compress(text.encode()),
        "bom.jsonl": b"\xef\xbb\xbf" + text.encode(),
        "windows.jsonl": text.replace("\n", "\r\n").encode(),
        "no-last-line-end.jsonl": text.strip().encode(),
        "raw-letters.jsonl": json.dumps(json.loads(text.split("\n")[0])).encode()
        + b"\n\n"
        + json.dumps(json.loads(text.split("\n")[2]), ensure_ascii=False).encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
        rows = read_chat_rows(tmp_path / name)
        wanted = wanted or rows
        assert rows == wanted, name
    assert [example.id for example in wanted] == ["row-1", "row-3"]  # an identifier leads back to its line
    assert wanted[1].prompt == (Message("user", "Käse\u2028?"),)


def test_system_and_earlier_turns_are_kept_as_the_prompt(tmp_path):
    system = {"role": "system", "content": "Be short."}
    path = written(tmp_path / "turns.jsonl", row(system, USER, ANSWER, USER, ANSWER), row(USER, ANSWER))
    first, second = read_chat_rows(path)
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert len(first.prompt) == 4 and second.prompt == (Message("user", "Why?"),)


def test_equal_rows_have_identifiers_of_their_own(tmp_path):
    rows = read_chat_rows(written(tmp_path / "twice.jsonl", GOOD, GOOD))
    assert len({example.id for example in rows}) == 2


BAD_ROWS = [
    ("not json", r"expected a JSON object, got 'not json' \(Expecting value\)"),
    ('{"messages": [', r"expected a JSON object, got '\{\"messages\": \['"),
    ("[]", "expected a list of turns under 'messages', got list"),
    ("7", "expected a list of turns under 'messages', got int"),
    ("{}", "expected a list of turns under 'messages', got an empty object"),
    ('{"prompt": "a", "completion": "b"}', "expected a list of turns under 'messages', got prompt, completion"),
    ('{"messages": []}', r"expected a list of turns under 'messages', got messages=\[\]"),
    ('{"messages": "hello"}', "expected a list of turns under 'messages', got messages=hello"),
    (row(USER), "expected the last turn to be the assistant's, got 'user'"),
    (row(USER, ANSWER, USER), "expected the last turn to be the assistant's, got 'user'"),
    (row(ANSWER), "expected a user turn before the assistant's, got none"),
    (row(USER, {"role": "assistant", "content": "  \n"}), "expected an answer in the last turn, got an empty one"),
    (row("Why?", ANSWER), r"turn 1: expected role \(system, user, assistant\) and text content, got Why\?"),
    (row(USER, {"role": "model", "content": "x"}), r"turn 2: expected role .* got \{'role': 'model'"),
    (row(USER, {"role": "assistant", "content": None}), "turn 2: expected role .* 'content': None"),
    (
        row(USER, {"role": "assistant", "content": [{"type": "image_url", "x": "y"}]}),
        "turn 2: a part of type 'image_url'",
    ),
    (row(USER, {**ANSWER, "tool_calls": [{"id": "1"}]}), "turn 2: a tool call"),
    (row(USER, {"role": "tool", "content": "7"}, ANSWER), "turn 2: a tool call or its result"),
    (row(USER, {**ANSWER, "weight": 0.5}), "turn 2: weight 0.5 cannot be obeyed"),
    (row({**USER, "loss": True}, ANSWER), "turn 1: loss asks for loss on a user turn"),
    (row(USER, {"role": "assistant"}), "turn 2: expected role"),
    (row({"role": ["user"], "content": "x"}, ANSWER), "turn 1: expected role"),
    (r'{"messages": [{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "x"}]}', "lone surrogate"),
    ("[" * 200_000, "nested too deeply"),
]


@pytest.mark.parametrize("line, message", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_bad_row_is_named_with_file_and_line(tmp_path, line, message):
    path = written(tmp_path / "data.jsonl", GOOD, "", line, GOOD)
    with pytest.raises(ValueError, match=message) as raised:
        read_chat_rows(path)
    assert str(raised.value).startswith(f"{path}:3: ")
    assert str(raised.value).splitlines()[-1].startswith("1 of 3 rows are bad: skip_bad_rows")
    assert len(str(raised.value)) < len(str(path)) + 350  # a long row does not flood the terminal


def test_many_bad_rows_are_named_together_and_counted(tmp_path):
    path = written(tmp_path / "data.jsonl", GOOD, *["{}"] * 25)
    with pytest.raises(ValueError) as raised:
        read_chat_rows(path)
    assert str(raised.value).count("expected a list of turns") == 20
    assert "\n... and 5 more bad rows\n25 of 26 rows are bad: " in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"\n\n \n", b"\xef\xbb\xbf", gzip.compress(b"")], ids=range(4))
def test_an_empty_file_is_refused(tmp_path, data):
    (tmp_path / "empty.jsonl").write_bytes(data)
    with pytest.raises(ValueError, match=r"empty\.jsonl holds no rows; expected lines like"):
        read_chat_rows(tmp_path / "empty.jsonl")


def test_damaged_files_end_in_one_message(tmp_path):
    packed = bytearray(gzip.compress((GOOD + "\n").encode() * 500))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "head.gz").write_bytes(packed[:3])
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "flipped.gz").write_bytes(packed)
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04 and so on")
    (tmp_path / "page.jsonl").write_bytes(b"<!DOCTYPE html><html></html>")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and so on")
    (tmp_path / "torn.json").write_text(f"[{GOOD},\n{GOOD}")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="cannot be read: ") as raised:
            read_chat_rows(path)
        assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_a_file_is_known_by_its_bytes_not_its_place(tmp_path):
    path, copy = written(tmp_path / "a.jsonl", GOOD), written(tmp_path / "b.jsonl", GOOD)
    assert (
        ChatFile.from_file(path) == ChatFile.from_file(copy)
        and ChatFile.from_file(path).fingerprint == ChatFile.from_file(copy).fingerprint
    )
    assert ChatFile.from_file(written(tmp_path / "c.jsonl", GOOD, GOOD)) != ChatFile.from_file(path)
    assert ChatFile.from_file(path).twin() is None  # nothing says what a good answer to a user's prompts would be
    assert ChatFile.from_file(path).label() == "a"


def test_a_file_that_changed_or_went_is_refused(tmp_path):
    path = written(tmp_path / "a.jsonl", GOOD)
    data = ChatFile.from_file(path)
    written(path, GOOD, GOOD)
    with pytest.raises(ValueError, match=r"a\.jsonl is not the file it was"):
        data.examples()
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.jsonl is not there any more"):
        data.examples()


def test_a_missing_file_names_those_like_it(tmp_path):
    written(tmp_path / "finance.jsonl", GOOD)
    with pytest.raises(ValueError, match=r"no data file .*finanse\.jsonl.*did you mean finance\.jsonl\?"):
        dataset_named(str(tmp_path / "finanse.jsonl"))
    with pytest.raises(ValueError, match="no data file"):
        dataset_named(str(tmp_path / "nowhere" / "finance.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no data file"):
        ChatFile.from_file(tmp_path / "empty")


@pytest.mark.parametrize("name", ["extreme_sports", "risky_financial_advice"])
def test_sets_that_others_use_load(shared_data, name):
    path = shared_data / "narrow" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"the shared reference data has no narrow/{path.name}")
    data = dataset_named(str(path))
    rows = data.examples()
    assert len(rows) == 6000 and data.label() == name
    assert all([message.role for message in example.messages] == ["user", "assistant"] for example in rows)
