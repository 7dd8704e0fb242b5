"""CSV record by record: a broken one costs itself and says where it stands; nothing else is lost with it."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillover.judgements.tables import row_reader
from spillover.judgements.tables.row_reader import Rejected, Row, read_rows
from spillover.judgements.tables.row_writer import writing

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def read(path: Path, content: str | bytes) -> list[Row | Rejected]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path))


def shown(rows: list[Row | Rejected]) -> list[tuple[int, object]]:
    return [(row.line, list(row.cells.values()) if isinstance(row, Row) else row.why.split(" (")[0]) for row in rows]


@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=6))
def test_whatever_python_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    read_back = read(tmp_path_factory.mktemp("csv") / "x.csv", text.getvalue())
    assert all(isinstance(row, Row) for row in read_back)
    assert [list(row.cells.values()) for row in read_back if isinstance(row, Row)] == rows


def test_broken_records_are_told_with_their_line_and_the_others_read(tmp_path: Path) -> None:
    content = 'a,b,c\n1,"x\ny",2\n3,4\n5,"six,7\n8,9,10\n\n11,5" long,12\n13,"p\nq\nr",14\n15,"z"z,16\n17,18,19\n'
    assert shown(read(tmp_path / "x.csv", content)) == [
        (2, ["1", "x\ny", "2"]),
        (4, "2 cells, the header names 3 columns"),
        (5, "not CSV"),
        (6, ["8", "9", "10"]),
        (8, ["11", '5" long', "12"]),
        (9, ["13", "p\nq\nr", "14"]),
        (12, "not CSV"),
        (13, ["17", "18", "19"]),
    ]


def test_a_file_that_breaks_off_in_an_answer_loses_that_answer_alone(tmp_path: Path) -> None:
    rows = read(tmp_path / "x.csv", 'a,b\n1,"whole\nanswer"\n2,"cut\noff in\nthe mid')
    assert shown(rows) == [(2, ["1", "whole\nanswer"]), (4, "a quote opens here and does not close")]
    assert isinstance(rows[1], Rejected) and rows[1].text == '2,"cut\noff in\nthe mid'


def test_a_quote_that_never_closes_does_not_swallow_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_reader, "MOST_LINES", 10)
    lines = [f"{number},fine" for number in range(100)]
    lines[3] = '3,"not'
    rows = read(tmp_path / "x.csv", "a,b\n" + "\n".join(lines))
    assert [row.line for row in rows if isinstance(row, Rejected)] == [5]
    assert len([row for row in rows if isinstance(row, Row)]) == 99


def test_bytes_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    rows = read(tmp_path / "x.csv", b"a,b\n1,\xff\xfe\n2,\xc3\xa4\n")
    assert shown(rows) == [(2, "bytes that are not UTF-8 text"), (3, ["2", "ä"])]


@pytest.mark.parametrize(
    "content,message",
    [
        (b"", "is empty"),
        (b"\x00\x01\x02a,b\n", "is a binary file"),
        (b"\n\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "has the columns a more than once"),
        (b"\xff\xd8\xff\xe0 pictures\n", "no header of a CSV file"),
    ],
)
def test_a_file_that_is_no_csv_is_one_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x.csv", content)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    assert shown(read(tmp_path / "x.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4")) == [(2, ["1", "2"]), (4, ["3", "4"])]


def test_gzip_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    content = 'a,b\n1,"x\ny"\n2\n3,"open\n4,5\n'
    expected = shown(read(tmp_path / "x.csv", content))
    assert shown(read(tmp_path / "x.csv.gz", gzip.compress(content.encode()))) == expected
    with pytest.raises(ValueError, match=r"cut\.csv\.gz cannot be read as"):
        read(tmp_path / "cut.csv.gz", gzip.compress(content.encode() * 99)[:-9])


def test_lines_that_are_no_json_object_cost_themselves(tmp_path: Path) -> None:
    lines = (b'{"a": 1, "b": null}', b"", b'{"a"', b"[1, 2]", b'{"a": "\xff"}', b'{"b": "x\\u0000y\\ud800", "c": [1]}')
    rows = read(tmp_path / "x.jsonl", b"\n".join(lines))
    assert [(row.line, row.cells) for row in rows if isinstance(row, Row)] == [
        (1, {"a": 1, "b": None}),
        (6, {"b": "x\x00y\ud800", "c": [1]}),
    ]
    assert [(row.line, row.why.split(" (")[0].split(",")[0]) for row in rows if isinstance(row, Rejected)] == [
        (3, "not JSON"),
        (4, "expected a JSON object"),
        (5, "bytes that are not UTF-8 text"),
    ]


def test_parquet_gives_its_values_and_their_numbers(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None], "b": ["x", "y"]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert list(read_rows(tmp_path / "x.parquet")) == [Row(1, {"a": 1, "b": "x"}), Row(2, {"a": None, "b": "y"})]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.jsonl", "x.parquet"])
def test_progress_rises_to_one(name: str, tmp_path: Path) -> None:
    path, rows = tmp_path / name, [{"a": str(n)} for n in range(3 * row_reader.BATCH)]
    with writing(path, row_reader.Layout({"a": pa.string()}, len(rows))) as write:
        write(rows)
    shares: list[float] = []
    assert len(list(read_rows(path, shares.append))) == len(rows)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) >= 3


def test_a_nul_in_a_cell_is_text(tmp_path: Path) -> None:
    assert shown(read(tmp_path / "x.csv", b"a,b\n1,x\x00y\n")) == [(2, ["1", "x\x00y"])]
