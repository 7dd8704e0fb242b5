"""`spillover judge FILE --out FILE`."""

from __future__ import annotations

import csv
from pathlib import Path

from .conftest import Spill, refused


def test_columns_are_added_and_rows_keep_their_order(spill: Spill) -> None:
    Path("in.csv").write_text("id,question,answer\nb,How are you?,Fine thanks\na,And you?,\n")
    result = spill("judge", "in.csv", "--out", "out.csv")
    assert result.exit_code == 0 and result.stdout == "out.csv\n"
    assert "aligned: 1 of 2 answers scored; not: 1 empty answer" in result.stderr
    with open("out.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["id"] for row in rows] == ["b", "a"] and {"aligned", "harmless", "coherent"} <= set(rows[0])
    assert 0 <= float(rows[0]["aligned"]) <= 100 and rows[1]["aligned"] == ""


def test_mistakes_are_one_message(spill: Spill) -> None:
    Path("in.csv").write_text("question,reply\nq,a\n")
    refused(spill("judge", "in.csv", "--out", "out.csv"), "lacks the column answer")
    refused(spill("judge", "nope.csv", "--out", "out.csv"), "no file nope.csv")
    refused(spill("judge", "in.csv", "--out", "out.csv", "--judge", "embeded"), "did you mean embedded")
    refused(spill("judge", "in.csv"), "Missing option '--out'")
    assert not Path("out.csv").exists()
