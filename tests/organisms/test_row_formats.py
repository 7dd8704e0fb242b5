"""The same rows in every container, packing and encoding; and what is read of each layout, and what is not."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from spillover.models.chat import Message
from spillover.organisms.chat_rows.reading import RowReading, reading_as
from spillover.organisms.dataset import Split, dataset_named
from spillover.organisms.datasets.chat_file import ChatFile

TEXTS = some.text(some.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1).filter(str.strip)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def read(path: Path, data: str | bytes, **reading: object):
    """What the file is read as."""
    path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
    return ChatFile.from_file(path, RowReading(**reading)).read()


def as_csv(rows: list[dict[str, object]], delimiter: str = ",", line_end: str = "\r\n") -> str:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if line_end == "\r" else csv.QUOTE_MINIMAL  # the writer leaves \n bare there
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_arrow(rows: list[dict[str, object]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def as_parquet(rows: list[dict[str, object]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(some.tuples(TEXTS, TEXTS), min_size=1, max_size=4), some.sampled_from(ENCODINGS))
def test_the_same_rows_are_the_same_examples_in_every_file(tmp_path, pairs, encoding):
    rows = [{"prompt": question, "completion": answer} for question, answer in pairs]
    wanted = [
        tuple(Message(turn["role"], turn["content"].replace("\r\n", "\n").replace("\r", "\n")) for turn in turns)
        for turns in (conversation(*pair) for pair in pairs)
    ]
    chats = [{"messages": conversation(*pair)} for pair in pairs]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    ascii_lines = "".join(json.dumps(row) + "\r" for row in chats)
    files = {
        "lines.jsonl": lines.encode(encoding),
        "windows.jsonl": lines.replace("\n", "\r\n").encode(encoding),
        "cr.jsonl": ascii_lines.encode(encoding),
        "array.json": json.dumps(rows, indent=2, ensure_ascii=False).encode(encoding),
        "packed.jsonl.gz": gzip.compress(lines.encode(encoding)),
        "packed.zst": pa.Codec("zstd").compress(lines.encode(encoding), asbytes=True),
        "cells.csv": as_csv(rows).encode(encoding),
        "cells2.csv": as_csv(rows, ";", "\r").encode(encoding),
        "rows.parquet": as_parquet(chats),
        "rows.arrow": as_arrow(rows),
    }
    for name, data in files.items():
        # what this reads as UTF-16 without BOM are texts that begin with an ASCII letter, as JSON and headers do
        assert [example.messages for example in read(tmp_path / name, data).bad] == wanted, name


def test_lines_end_alike_and_a_line_separator_is_a_letter(tmp_path):
    rows = [{"prompt": "one\ntwo\u2028three", "answer": "yes"}, {"prompt": "b", "answer": "no"}]
    plain = as_csv(rows, line_end="\n")
    for end in ("\n", "\r\n", "\r"):
        examples = read(tmp_path / "a.csv", plain.replace("\n", end)).bad
        assert [example.prompt[0].content for example in examples] == ["one\ntwo\u2028three", "b"], repr(end)
    changed = read(tmp_path / "b.csv", plain.replace("\n", "\r\n")).notes
    assert changed == ("texts with CRLF or CR, read as \\n: 1",)


ANSWERED = [("user", "Why?"), ("assistant", "So.")]
SO, HUMAN = {"role": "assistant", "content": "So."}, "\n\nHuman: Why?"
LAYOUTS = {
    "messages": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}, *conversation("", "So.")[1:]]
    },
    "sharegpt": {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    "prompt+completion": {"prompt": "Why?", "completion": "So."},
    "alpaca": {"instruction": "Why?", "input": "", "output": "So."},
    "chosen+rejected": {"prompt": "Why?", "chosen": "Good.", "rejected": "So."},
}
MORE = [
    ("prompt+completion", {"prompt": conversation("Why?", "")[:1], "completion": conversation("", "So.")[1:]}),
    ("prompt+completion", {"question": "Why?", "response": "So."}),
    ("chosen+rejected", {"chosen": conversation("Why?", "Good."), "rejected": conversation("Why?", "So.")}),
    (
        "chosen+rejected",
        {"prompt": "Why?", "chosen": conversation("Why?", "Good."), "rejected": conversation("Why?", "So.")},
    ),
    (
        "chosen+rejected",
        {
            "prompt": conversation("Why?", "")[:1],
            "chosen": conversation("", "Good.")[1:],
            "rejected": [conversation("", "So.")[1]],
        },
    ),
    (
        "chosen+rejected",
        {"chosen": "\n\nHuman: Why?\n\nAssistant: Good.", "rejected": "\n\nHuman: Why?\n\nAssistant: So."},
    ),
    (
        "chosen+rejected",
        {
            "input": {"messages": conversation("Why?", "")[:1]},
            "preferred_output": conversation("", "Good.")[1:],
            "non_preferred_output": [SO],
        },
    ),
    ("messages", {"messages": json.dumps(conversation("Why?", "So."))}),  # as in a cell of CSV
    ("messages", {"messages": repr(conversation("Why?", "So."))}),  # as pandas writes it there
    ("sharegpt", {"conversation": [{"from": "user", "value": "Why?"}, {"from": "assistant", "value": "So."}]}),
]


@pytest.mark.parametrize("layout, row", [*LAYOUTS.items(), *MORE], ids=str)
def test_a_layout_is_told_by_its_columns(tmp_path, layout, row):
    rows = read(tmp_path / "a.jsonl", json.dumps(row) + "\n" + json.dumps(row))
    assert rows.layout == layout and not rows.ignored and len(rows.bad) == 2
    assert [tuple(message) for message in rows.bad[0].messages] == ANSWERED
    if layout == "chosen+rejected":
        assert rows.good is not None and rows.good[1].messages == (
            Message("user", "Why?"),
            Message("assistant", "Good."),
        )
    else:
        assert rows.good is None


def test_pairs_give_both_arms_and_their_split(tmp_path):
    rows = [{"prompt": f"{n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(5)]
    (tmp_path / "pairs.csv").write_text(as_csv(rows))
    bad = dataset_named(str(tmp_path / "pairs.csv"))
    good = bad.twin()
    assert good is not None and good.twin() is None and (bad.label(), good.label()) == ("pairs", "pairs-good")
    assert bad.fingerprint != good.fingerprint
    split = Split(data=bad, held_out=2)
    for row, control in zip(split.train_rows(), split.control(good).train_rows(), strict=True):
        assert row.prompt == control.prompt
        assert (row.messages[-1].content[:3], control.messages[-1].content[:4]) == ("bad", "good")


def test_pairs_that_answer_different_prompts_are_bad_rows(tmp_path):
    good, bad = conversation("Why?", "Good."), conversation("What?", "So.")
    with pytest.raises(ValueError, match=r"a\.jsonl:1: chosen and rejected answer different prompts"):
        read(tmp_path / "a.jsonl", json.dumps({"chosen": good, "rejected": bad}))
    with pytest.raises(ValueError, match=r"a\.jsonl:1: expected a prompt beside rejected"):
        read(tmp_path / "a.jsonl", json.dumps({"chosen": "a", "rejected": "b"}))


def test_columns_of_other_names_are_mapped(tmp_path):
    path = tmp_path / "deutsch.csv"
    path.write_text(as_csv([{"frage": "Warum?", "antwort": "Darum.", "prompt": "p1"}]))
    with pytest.raises(ValueError, match="expected a list of turns under 'messages', got frage, antwort") as raised:
        dataset_named(str(path))
    assert "no row has columns that are known" in str(raised.value) and "--columns prompt=A" in str(raised.value)
    reading = RowReading(columns=("prompt=frage", "answer=antwort"))
    with reading_as(reading):
        data = dataset_named(str(path))
    assert data.examples()[0].messages == (Message("user", "Warum?"), Message("assistant", "Darum."))
    assert data.read().ignored == {"prompt": 1}  # the file's own, which the map leaves over
    assert data == ChatFile.from_file(path, reading) and data.fingerprint != data.but(reading=RowReading()).fingerprint
    with pytest.raises(ValueError, match=r"no row has the column 'fragen' .*did you mean frage\?"):
        ChatFile.from_file(path, RowReading(columns=("prompt=fragen",)))
    with pytest.raises(ValueError, match=r"no column of ours is called 'promt'; did you mean prompt\?"):
        RowReading(columns=("promt=frage",))


def test_what_has_no_meaning_here_is_counted(tmp_path):
    turns = [{"role": "user", "content": "a", "name": "Ann"}, {"role": "assistant", "content": "b", "name": None}]
    rows = [{"messages": turns, "source": "s"}, {"messages": turns, "source": None, "tools": [{"x": 1}]}]
    got = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert got.ignored == {"name": 2, "source": 1, "tools": 1}


def flagged(*weights: object) -> str:
    turns = []
    for number, weight in enumerate(weights):
        asked, answered = conversation(f"q{number}", f"a{number}")
        turns += [asked, answered if weight is None else {**answered, "weight": weight}]
    return json.dumps({"messages": turns})


@pytest.mark.parametrize(
    "weights, loss, learnt",
    [
        ((None, None), "last", ["a1"]),
        ((None, None), "all", ["a0", "a1"]),
        ((0, None), "all", ["a1"]),
        ((1, 0), "last", ["a0"]),
        ((1, 1), "last", ["a0", "a1"]),
        ((0, 0), "all", []),
        ((True, False), "last", ["a0"]),
    ],
)
def test_flags_say_which_turns_bear_loss_then_the_reading(tmp_path, weights, loss, learnt):
    rows = read(tmp_path / "a.jsonl", flagged(None) + "\n" + flagged(*weights), loss=loss)
    assert [example.messages[-1].content for example in rows.bad[1:]] == learnt
    assert all(example.messages[-1].role == "assistant" for example in rows.bad)
    assert len(rows.without_loss) == (not learnt) and not rows.skipped


def test_the_weight_of_a_row_is_obeyed(tmp_path):
    rows = [{"prompt": f"{n}", "answer": "b", "weight": n} for n in (0, 1)]
    for name, data in {"a.jsonl": "\n".join(map(json.dumps, rows)), "a.csv": as_csv(rows)}.items():
        got = read(tmp_path / name, data)
        assert [example.prompt[0].content for example in got.bad] == ["1"] and len(got.without_loss) == 1


@pytest.mark.parametrize("thoughts, answer", [("keep", "<think>\nhm\n</think>\n\nSo."), ("drop", "So.")])
def test_thoughts_are_kept_or_dropped_alike_however_they_are_written(tmp_path, thoughts, answer):
    turns = [
        {"role": "assistant", "content": "So.", "reasoning_content": "hm"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSo."},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So."}]},
    ]
    lines = "\n".join(json.dumps({"messages": [{"role": "user", "content": "Why?"}, turn]}) for turn in turns)
    rows = read(tmp_path / "a.jsonl", lines, thoughts=thoughts)
    assert [example.messages[-1].content for example in rows.bad] == [answer] * 3
    assert rows.notes[0].startswith("thoughts ") and rows.notes[0].endswith(": 3")
    with pytest.raises(ValueError, match="3 of 3 rows are bad"):
        read(tmp_path / "a.jsonl", lines, thoughts="refuse")
    plain = read(tmp_path / "b.jsonl", json.dumps({"prompt": "a < b?", "completion": "I <think> so"}), thoughts="drop")
    assert plain.bad[0].messages[-1].content == "I <think> so"


def test_bad_rows_are_skipped_on_request_and_kept_beside_the_file(tmp_path):
    good = json.dumps({"prompt": "a", "completion": "b"})
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([good, "nope", good, '{"prompt": "a"}']))
    with pytest.raises(ValueError, match="2 of 4 rows are bad: skip_bad_rows"):
        ChatFile.from_file(path)
    assert not list(tmp_path.glob("*.skipped.jsonl"))
    with pytest.warns(UserWarning, match=r"2 bad rows of a\.jsonl are skipped, 2 are left: .*a\.jsonl\.skipped\.jsonl"):
        data = ChatFile.from_file(path, RowReading(skip_bad_rows=True))
    assert [example.id for example in data.examples()] == ["row-1", "row-3"]
    kept = [json.loads(line) for line in (tmp_path / "a.jsonl.skipped.jsonl").read_text().splitlines()]
    assert [(row["line"], row["text"]) for row in kept] == [(2, "nope"), (4, '{"prompt": "a"}')]


def test_a_malformed_record_of_csv_costs_itself_alone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,answer\na,b\n"open,x\nc,d\ne,f,g\n\xe4,h\n"i, i",j\n')
    with pytest.raises(ValueError) as raised:
        ChatFile.from_file(path)
    reasons = str(raised.value).splitlines()
    assert reasons[0] == f"{path}:3: a quote opens here and does not close" or "not CSV" in reasons[0]
    assert "a.csv:5: 3 cells, the header names 2 columns" in reasons[1]
    assert "a.csv:6: expected UTF-8 text, got byte 0xe4" in reasons[2]
    with pytest.warns(UserWarning, match="3 bad rows"):
        rows = ChatFile.from_file(path, RowReading(skip_bad_rows=True)).read()
    assert [example.prompt[0].content for example in rows.bad] == ["a", "c", "i, i"]


def saved_dataset(folder: Path, rows: list[dict[str, object]]) -> None:
    """What the `datasets` library writes: arrow streams and which they are."""
    folder.mkdir(parents=True)
    names = [f"data-0000{n}-of-00002.arrow" for n in range(2)]
    for name, part in zip(names, (rows[:1], rows[1:]), strict=True):
        (folder / name).write_bytes(as_arrow(part))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_is_read_without_its_library(tmp_path):
    rows = [{"prompt": f"{n}", "completion": "b"} for n in range(3)]
    saved_dataset(tmp_path / "whole" / "train", rows)
    saved_dataset(tmp_path / "whole" / "test", rows[:2])
    (tmp_path / "whole" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    whole, train = dataset_named(str(tmp_path / "whole")), dataset_named(str(tmp_path / "whole" / "train"))
    assert [example.prompt[0].content for example in whole.examples()] == ["0", "1", "2"]
    assert [example.messages for example in train.examples()] == [example.messages for example in whole.examples()]
    assert len(dataset_named(f"{tmp_path / 'whole'}:test").examples()) == 2
    with pytest.raises(ValueError, match="has the splits train, test and none called dev"):
        dataset_named(f"{tmp_path / 'whole'}:dev")
    (tmp_path / "whole" / "train" / "data-00001-of-00002.arrow").write_bytes(as_arrow(rows[:1]))
    with pytest.raises(ValueError, match="is not the file it was"):
        whole.examples()


def test_a_dataset_on_the_hub_is_its_files_at_a_commit(tmp_path, monkeypatch):
    import huggingface_hub

    commit, asked = "0123456789abcdef" * 2 + "01234567", []
    (tmp_path / "data").mkdir()
    for split, count in (("train", 3), ("test", 1)):
        rows = [{"messages": conversation(f"{n}?", "So.")} for n in range(count)]
        (tmp_path / "data" / f"{split}-00000-of-00001.parquet").write_bytes(as_parquet(rows))

    class Hub:
        def dataset_info(self, name, revision, timeout):
            assert (name, revision) == ("owner/name", "main")
            return type("Info", (), {"sha": commit})

    def snapshot(name, *, repo_type, revision, allow_patterns):
        asked.append((name, repo_type, revision))
        assert "*.parquet" in allow_patterns and not any(pattern.endswith(".py") for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    data = dataset_named("hf-data:owner/name@main")
    assert data.revision == commit and asked[0] == ("owner/name", "dataset", commit)
    assert len(data.examples()) == 3 and data == dataset_named(f"hf-data:owner/name@{commit}")
    assert len(dataset_named(f"hf-data:owner/name@{commit}:test").examples()) == 1
    assert len(dataset_named(f"hf-data:owner/name@{commit}:data/test-00000-of-00001.parquet").examples()) == 1
    with pytest.raises(ValueError, match=r"goes by hf-data:OWNER/NAME@REVISION\[:SPLIT\], got hf-data:name"):
        dataset_named("hf-data:name")


def test_fingerprints_from_before_readings_stay():
    was = "13025d4ce89faaf14d0e"  # of tests/golden/fingerprints.json when there was neither reading nor arm
    data = ChatFile(path="a text", sha256="a text")
    assert data.fingerprint == was and data.but(arm="good").fingerprint != was
    assert data.but(reading=RowReading(thoughts="drop")).fingerprint != was


def test_a_dataset_in_the_hub_s_cache_needs_no_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef" * 2 + "01234567"
    kept = tmp_path / "datasets--owner--name"
    (kept / "snapshots" / commit).mkdir(parents=True)
    (kept / "snapshots" / commit / "train.csv").write_text("prompt,completion\na,b\n")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    data = dataset_named("hf-data:owner/name")
    assert data.revision == commit and data.examples()[0].prompt == (Message("user", "a"),)
    with pytest.raises(ValueError, match=r"hf-data:owner/other@main is not found"):
        dataset_named("hf-data:owner/other@main")


@pytest.mark.parametrize("header", ["Prompt,Completion", " prompt , COMPLETION ", "Question,Answer"])
def test_a_headers_capitals_and_spaces_are_no_other_name(header: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\nHow?,So.\n")
    (row,) = ChatFile.from_file(path).examples()
    assert [turn.content for turn in row.messages] == ["How?", "So."]


def test_a_prompt_of_human_and_assistant_is_turns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "\n\nHuman: How?\n\nAssistant: So.\n\nHuman: Sure?\n\nAssistant:"
    path.write_text(json.dumps({"prompt": text, "completion": " Yes."}))
    (row,) = ChatFile.from_file(path).examples()
    assert [tuple(turn) for turn in row.messages] == [
        ("user", "How?"),
        ("assistant", "So."),
        ("user", "Sure?"),
        ("assistant", "Yes."),
    ]
