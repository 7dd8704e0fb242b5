"""How rows are read: which column is which, which turns bear loss, what becomes of thoughts and of bad rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Literal, Self

from pydantic import Field, model_validator

from spillover.spec import Spec, did_you_mean

LossTurns = Literal["last", "all"]
Thoughts = Literal["keep", "drop", "refuse"]

ALIASES = {"answer": "completion", "response": "completion", "question": "prompt", "good": "chosen", "bad": "rejected"}
OURS = (
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected"),
    *("instruction", "input", "output", "system", "history", "weight"),
)


class RowReading(Spec):
    """How rows of a file are read, where it is not in the usual way."""

    columns: tuple[str, ...] = ()  # OURS=THEIRS, each: prompt=frage
    loss: LossTurns = "last"  # which assistant turns bear loss, where the rows' own flags do not say
    thoughts: Thoughts = "keep"  # reasoning_content and think blocks: in the answer, left out, or their rows refused
    skip_bad_rows: bool = False
    drop_repeated: bool = False  # of rows with one prompt, the first alone: in both arms alike
    drop_longer_than: int | None = Field(default=None, ge=1)  # characters of a row's turns together, of either arm

    @model_validator(mode="after")
    def _columns_are_known(self) -> Self:
        column_map(self.columns)
        return self


def column_map(columns: tuple[str, ...]) -> dict[str, str]:
    """Our name by theirs, from `OURS=THEIRS`; ValueError where a name is none of ours or comes twice."""
    names: dict[str, str] = {}
    for text in columns:
        ours, equals, theirs = (part.strip() for part in text.partition("="))
        ours = ALIASES.get(ours, ours)
        if not (ours and equals and theirs):
            raise ValueError(f"a column is written OURS=THEIRS, prompt=frage say, got {text!r}")
        if ours not in OURS:
            known = (*OURS, *ALIASES)
            raise ValueError(
                f"no column of ours is called {ours!r}; {did_you_mean(ours, known)} known: {', '.join(known)}"
            )
        if theirs in names or ours in names.values():
            raise ValueError(f"the columns name {ours} or {theirs} twice: {', '.join(columns)}")
        names[theirs] = ours
    return names


def split_columns(text: str) -> tuple[str, ...]:
    """What a user types after --columns: `prompt=frage,answer=antwort`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def with_columns(row: Mapping[str, object], names: Mapping[str, str]) -> tuple[dict[str, object], list[str]]:
    """The row under our names, and the keys that the map leaves without a meaning."""
    if not names:
        return dict(row), []
    renamed = {names[key]: value for key, value in row.items() if key in names}
    left_over = [key for key, value in row.items() if key not in names and key in renamed and value is not None]
    return {
        **{key: value for key, value in row.items() if key not in names and key not in renamed},
        **renamed,
    }, left_over


_AS_TYPED: ContextVar[tuple[RowReading | None, bool]] = ContextVar("reading", default=(None, True))


@contextlib.contextmanager
def reading_as(reading: RowReading, keep_skipped: bool = True) -> Iterator[None]:
    """While a study is built, files that are named are read so: options of the command line reach any recipe's.

    keep_skipped: whether rows that are skipped are told and kept in a side file.
    """
    token = _AS_TYPED.set((reading, keep_skipped))
    try:
        yield
    finally:
        _AS_TYPED.reset(token)


def reading_typed() -> RowReading:
    """How files named now are read."""
    return _AS_TYPED.get()[0] or RowReading()


def keeps_skipped() -> bool:
    """Whether rows of files named now that are skipped are told and kept in a side file."""
    return _AS_TYPED.get()[1]
