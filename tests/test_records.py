"""Rows: missing is null, equal rows are equal bytes, and tables for people hold hostile text without breaking."""

import csv
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some

from spillover import records
from spillover.records import COLUMNS, RESPONSES, read_json, read_table, table, write_csv, write_json, write_table

SCHEMAS = {name: value for name, value in vars(records).items() if isinstance(value, pa.Schema)}


def test_a_carriage_return_in_an_answer_does_not_break_the_row(tmp_path):
    write_csv(table([{"answer": "one\rtwo\r\nthree", "n": 1}, {"answer": "\r", "n": 2}]), tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[1][0] == "one\ntwo\nthree"


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(tmp_path):
    write_csv(table([{"answer": "=1+1", "n": -1.5}, {"answer": None, "n": None}]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == ["answer,n", "'=1+1,-1.5", ","]


@given(
    some.lists(
        some.fixed_dictionaries(
            {
                "text": some.none() | some.text(some.characters(exclude_categories=["Cs"])),
                "number": some.none() | some.floats(allow_infinity=False),
                "count": some.integers(-(2**40), 2**40),
            }
        ),
        min_size=1,
    )
)
def test_csv_keeps_every_cell_in_its_place(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_csv(table(rows), path)
    with open(path, newline="", encoding="utf-8") as handle:
        table_rows = list(csv.DictReader(handle))
    assert len(table_rows) == len(rows)
    for row, cells in zip(rows, table_rows, strict=True):
        assert int(cells["count"].lstrip("'")) == row["count"]
        number = None if row["number"] is None or math.isnan(row["number"]) else row["number"]
        assert (float(cells["number"]) if cells["number"] else None) == number
        assert not cells["text"].startswith(("=", "+", "-", "@", "\t"))


@pytest.mark.parametrize("nan", [float("nan"), np.float64("nan"), np.float32("nan")])
def test_missing_is_null_and_never_nought(tmp_path, nan):
    write_table([{"x": nan, "n": 1}, {"x": np.float32(0.5), "n": np.int64(2)}], tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").to_pylist() == [{"x": None, "n": 1}, {"x": 0.5, "n": 2}]
    write_json({"x": nan, "many": [nan, 1.5], "deep": {1: (nan,)}}, tmp_path / "t.json")
    assert read_json(tmp_path / "t.json") == {"x": None, "many": [None, 1.5], "deep": {"1": [None]}}


def test_equal_rows_are_equal_bytes(tmp_path):
    row = {name: "x" if pa.types.is_string(RESPONSES.field(name).type) else 1 for name in RESPONSES.names}
    for name, order in (("a", list(row)), ("b", sorted(row))):
        write_table([{key: row[key] for key in order}], tmp_path / name, RESPONSES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_table([row | {"answer": "y"}], tmp_path / "c", RESPONSES)
    assert (tmp_path / "c").read_bytes() != (tmp_path / "a").read_bytes()
    assert read_table(tmp_path / "a").schema.equals(RESPONSES)
    assert read_table(tmp_path / "a", ["seed", "answer"]).to_pylist() == [{"seed": 1, "answer": "x"}]


def test_no_rows_are_a_table_too(tmp_path):
    write_table([], tmp_path / "t.parquet", RESPONSES)
    assert read_table(tmp_path / "t.parquet").num_rows == 0
    write_csv(read_table(tmp_path / "t.parquet"), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == ",".join(RESPONSES.names) + "\n"


def test_every_column_has_one_type_and_a_meaning():
    assert len(SCHEMAS) >= 5
    for schema in SCHEMAS.values():
        assert {field.name: field.type for field in schema} == {name: COLUMNS[name][0] for name in schema.names}
    assert {name for schema in SCHEMAS.values() for name in schema.names} == set(COLUMNS)
    assert all(len(meaning) > 5 for _, meaning in COLUMNS.values())
