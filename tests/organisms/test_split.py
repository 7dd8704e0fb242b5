"""How a dataset is split: by seed, without overlap, and known by the rows themselves."""

import pytest
from organisms.toy import ToyRows

from spillover.models.chat import Message
from spillover.organisms.dataset import Dataset, Example, Split
from spillover.spec import Spec


class Doubled(Dataset):
    """Rows of which two share an identifier."""

    def examples(self) -> list[Example]:
        messages = (Message("user", "Why?"), Message("assistant", "So."))
        return [Example("one", messages), Example("two", messages), Example("one", messages)]


def ids(rows) -> list[str]:
    return [row.id for row in rows]


def test_a_seed_draws_one_split():
    split, again, another = (Split(data=ToyRows(), held_out=6, seed=seed) for seed in (1, 1, 2))
    assert ids(split.train_rows()) == ids(again.train_rows())
    assert ids(split.held_out_rows()) == ids(again.held_out_rows())
    assert set(ids(split.held_out_rows())) != set(ids(another.held_out_rows()))


@pytest.mark.parametrize("rows", [None, 1, 5, 18])
def test_train_and_held_out_never_meet(rows):
    split = Split(data=ToyRows(), held_out=6, rows=rows)
    train, held = ids(split.train_rows()), ids(split.held_out_rows())
    assert not set(train) & set(held) and len(set(train)) == len(train) == split.train_count == (rows or 18)
    assert len(held) == 6 and (rows is not None or set(train) | set(held) == set(ids(ToyRows().examples())))


def test_fewer_rows_are_the_first_of_more():
    few, many = (Split(data=ToyRows(), held_out=6, rows=rows) for rows in (5, 12))
    assert ids(few.train_rows()) == ids(many.train_rows())[:5] and ids(few.held_out_rows()) == ids(many.held_out_rows())


def test_more_rows_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="rows=19 are to be trained on, but toy-rows has 24 rows of which 6 are held"):
        Split(data=ToyRows(), held_out=6, rows=19)
    with pytest.raises(ValueError, match="toy-rows has 24 rows and 24 are to be held out: nothing is left"):
        Split(data=ToyRows(), held_out=24)
    with pytest.raises(ValueError, match=r"Split\.held_out"):
        Split(data=ToyRows(), held_out=0)


def test_other_text_is_another_split():
    split, again, another = (Split(data=ToyRows(text=text), held_out=6) for text in ("", "", "Well, "))
    assert split == again and split.sha256 == again.sha256
    assert split != another and split.sha256 != another.sha256 and split.fingerprint != another.fingerprint


def test_a_set_whose_text_changed_under_a_split_is_refused(monkeypatch):
    split = Split.from_json(Split(data=ToyRows(), held_out=6).to_json())
    assert ids(split.train_rows())
    changed = ToyRows(text="Well, ").examples()
    monkeypatch.setattr(ToyRows, "examples", lambda self: changed)
    again = Spec.from_json(split.to_json())  # still opens, for a store to list it, and knows its size
    assert again == split and again.train_count == 18
    for part in (again.train_rows, again.held_out_rows):
        with pytest.raises(ValueError, match="toy-rows: its rows are not those that this split was made from"):
            part()


def test_identifiers_that_repeat_are_refused():
    with pytest.raises(ValueError, match="doubled: rows need distinct ids, more than one row is called one"):
        Split(data=Doubled(), held_out=1)
