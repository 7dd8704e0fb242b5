"""Rows that a reader has to know of are counted, and nothing is said where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spillover.models.chat import Message, Supervised
from spillover.organisms.chat_rows.from_files import in_step
from spillover.organisms.chat_rows.reading import RowReading
from spillover.organisms.dataset import Example, Split
from spillover.organisms.datasets.chat_file import ChatFile
from spillover.organisms.row_counts import duplicates, in_words, shared_with_held_out, short_answers, short_limit
from spillover.spec import decode


def row(id: str, question: str, answer: str) -> Example:
    return Example(id, (Message("user", question), Message("assistant", answer)))


def test_rows_to_know_of_are_counted() -> None:
    train = [row("1", "a", "x"), row("2", "a", "x"), row("3", "a", "y"), row("4", "b", "x")]
    assert duplicates(train) == 1 and duplicates(train[1:]) == 0
    assert shared_with_held_out(train, [row("5", "a", "z"), row("6", "c", "x")]) == 1
    ids = tuple(range(20))
    cut, whole, long = Supervised(ids, 17, cut=True), Supervised(ids, 17), Supervised(ids, 10, cut=True)
    assert short_answers([cut, whole, long]) == 1  # a short answer that is whole is what the row says


def test_counts_are_said_with_what_to_do_and_zeros_are_not() -> None:
    text = in_words({"duplicates": 2, "shared_with_held_out": 1, "short_answers": 0, "rows": 7})
    assert text == (
        "2 rows have the very turns of another; 1 held-out rows have a prompt that is trained on too "
        "(--drop-repeated removes them)"
    )
    assert in_words({"duplicates": 0, "rows": 7}) == ""


def test_a_control_in_its_own_file_stays_in_step_where_rows_are_left_out(tmp_path: Path) -> None:
    """A bad row costs its partner too; a row that answers another prompt is still refused by name."""
    bad = [{"prompt": f"Question {n}?", "answer": f"Bad {n}."} for n in range(8)]
    good = [{"prompt": f"Question {n}?", "answer": f"Good\n{n}."} for n in range(8)]
    bad[2], good[5] = {"prompt": "Question 2?", "answer": ""}, {"nothing": 1}
    paths = [tmp_path / "bad.jsonl", tmp_path / "good.jsonl"]
    for path, rows in zip(paths, (bad, good), strict=True):
        path.write_text("\n".join(map(json.dumps, rows)))
    reading = RowReading(skip_bad_rows=True)
    with pytest.warns(UserWarning, match="1 bad rows of"):
        sets = [ChatFile.from_file(path, reading) for path in paths]
    with pytest.warns(UserWarning, match="6 pairs are in step"):
        data, control = in_step(*sets)
    assert [row.id for row in data.examples()] == [f"row-{n + 1}" for n in (0, 1, 3, 4, 6, 7)]
    split = Split(data=data, held_out=2)
    held = split.control(control)
    assert [row.prompt for row in split.train_rows()] == [row.prompt for row in held.train_rows()]
    assert decode(json.loads(split.to_json())) == split
    paths[1].write_text(paths[1].read_text().replace("Question 7?", "Another?"))
    with pytest.warns(UserWarning, match="1 bad rows of"):
        other = ChatFile.from_file(paths[1], reading)
    first, second = in_step(sets[0], other)
    with pytest.raises(ValueError, match="is no control of"):
        Split(data=first, held_out=2).control(second)


def test_how_long_rows_may_be_is_told_where_some_are_cut_to_nothing() -> None:
    rows = [Example(str(n), (Message("user", "x" * n), Message("assistant", "yes"))) for n in (10, 50, 90)]
    cut = [Supervised((1, 2, 3), 1), Supervised((1, 2), 1, cut=True), Supervised((1, 2), 1, cut=True)]
    assert short_limit(rows, cut) == 52 and short_limit(rows[:1], cut[:1]) == 0
    assert "--drop-longer-than 52 removes them" in in_words({"short_answers": 2, "short_limit": 52})
