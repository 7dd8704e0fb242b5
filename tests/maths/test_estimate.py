"""The estimate: what it holds and what a missing one looks like; choices of resampling that make sense."""

import dataclasses
import math
from typing import Any

import pytest

from spillover.maths.estimate import Estimate, Resampling


def test_as_row_has_the_six_columns_of_a_tidy_table() -> None:
    row = Estimate(1.0, 0.5, 1.5, 8).as_row()
    assert row == {"estimate": 1.0, "low": 0.5, "high": 1.5, "n": 8, "p": None, "q": None}


def test_missing_is_nan_and_never_zero() -> None:
    none = Estimate.missing(2, tested=True)
    assert all(math.isnan(value) for value in (none.estimate, none.low, none.high, none.p or 0))
    assert none.n == 2
    assert Estimate.missing().p is None


def test_frozen() -> None:
    first = Estimate(1.0, 0.5, 1.5, 8, p=0.01)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.p = 0.5


@pytest.mark.parametrize(
    "choice,words",
    [({"draws": 9}, "at least 99"), ({"level": 95}, "95% is 0.95"), ({"bounds": (1, 0)}, "least, greatest")],
)
def test_choices_that_make_no_sense_are_refused(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Resampling(**choice)
