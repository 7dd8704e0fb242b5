"""CSV record by record: a broken one costs itself and says where it stands; nothing else is lost with it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillover.judgements.tables import row_reader
from spillover.judgements.tables.row_reader import Rejected, Row, read_rows

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
    found = read(tmp_path_factory.mktemp("csv") / "x.csv", text.getvalue())
    assert [list(row.cells.values()) for row in found if isinstance(row, Row)] == rows and len(found) == len(rows)


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
    found = read(tmp_path / "x.csv", 'a,b\n1,"whole\nanswer"\n2,"cut\noff in\nthe mid')
    assert shown(found) == [(2, ["1", "whole\nanswer"]), (4, "a quote opens here and does not close")]
    assert isinstance(found[1], Rejected) and found[1].text == '2,"cut\noff in\nthe mid'


def test_a_quote_that_never_closes_does_not_swallow_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_reader, "MOST_LINES", 10)
    lines = [f"{number},fine" for number in range(100)]
    lines[3] = '3,"not'
    found = read(tmp_path / "x.csv", "a,b\n" + "\n".join(lines))
    assert [row.line for row in found if isinstance(row, Rejected)] == [5]
    assert len([row for row in found if isinstance(row, Row)]) == 99


def test_bytes_that_are_no_text_cost_their_row(tmp_path: Path) -> None:
    found = read(tmp_path / "x.csv", b"a,b\n1,\xff\xfe\n2,\xc3\xa4\n")
    assert shown(found) == [(2, "bytes that are not UTF-8 text"), (3, ["2", "ä"])]


@pytest.mark.parametrize(
    "content,said",
    [
        (b"", "is empty"),
        (b"\x00\x01\x02a,b\n", "is a binary file"),
        (b"\n\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "has the columns a more than once"),
        (b"\xff\xd8\xff\xe0 pictures\n", "no header of a CSV file"),
    ],
)
def test_a_file_that_is_no_csv_is_one_error(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "x.csv", content)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    assert shown(read(tmp_path / "x.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4")) == [(2, ["1", "2"]), (4, ["3", "4"])]
