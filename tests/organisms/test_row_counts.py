"""Rows that a reader has to know of are counted, and nothing is said where there are none."""

from __future__ import annotations

from spillover.models.chat import Message, Supervised
from spillover.organisms.dataset import Example
from spillover.organisms.row_counts import duplicates, in_words, shared_with_held_out, short_answers


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
