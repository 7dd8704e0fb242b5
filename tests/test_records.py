"""Tables for people hold hostile text without breaking."""

import csv

from spillover.records import table, write_csv


def test_a_carriage_return_in_an_answer_does_not_break_the_row(tmp_path):
    write_csv(table([{"answer": "one\rtwo\r\nthree", "n": 1}, {"answer": "\r", "n": 2}]), tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[1][0] == "one\ntwo\nthree"


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(tmp_path):
    write_csv(table([{"answer": "=1+1", "n": -1.5}, {"answer": None, "n": None}]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == ["answer,n", "'=1+1,-1.5", ","]
