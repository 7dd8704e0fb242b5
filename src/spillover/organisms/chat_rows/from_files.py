"""A dataset whose rows lie in files that others wrote: read through one door, bad rows named or skipped on request."""

from __future__ import annotations

import difflib
import functools
import json
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from spillover.manifest import remembered_sha256
from spillover.models.chat import Message
from spillover.organisms.chat_rows.reading import RowReading, keeps_skipped
from spillover.organisms.chat_rows.rows import ChatRows, PairArm, SkippedRow, bad_rows_text, chat_rows
from spillover.organisms.dataset import Dataset, Example
from spillover.row_files.reading import read_contents
from spillover.spec import later_field


class RowsFromFiles(Dataset):
    """Chat rows from files, in any layout, container and encoding that `row_files` and `chat_rows` read."""

    reading: RowReading = later_field(RowReading())
    arm: PairArm = later_field("")  # of pairs (chosen + rejected): bad, the rejected answers, or good, the chosen ones

    beside: Dataset | None = later_field(None)  # rows that this set has in step with it: those of both are left

    @abstractmethod
    def files(self) -> tuple[Path, Sequence[Path]]:
        """What the user named, and the files below it in order; ValueError where they are not what they were."""

    def read(self) -> ChatRows:
        """Everything in the files; a ValueError names the bad rows, unless they are to be skipped, or that there are
        no rows."""
        place, paths = self.files()
        rows = _rows(tuple(map(str, paths)), tuple(map(remembered_sha256, paths)), self.reading.to_json())
        if rows.skipped and not (self.reading.skip_bad_rows and rows.bad):
            raise ValueError(bad_rows_text(place, rows))
        if not rows.bad:
            expected = 'expected lines like {"messages": [{"role": "user", ...}, ...]}, or another layout'
            raise ValueError(f"{place} holds no rows; {expected}")
        return rows

    def examples(self) -> list[Example]:
        rows = self.read().examples(self.arm)
        return rows if self.beside is None else [rows[place] for place, _ in _shared(rows, self.beside.examples())]

    def twin(self) -> Dataset | None:
        return self.but(arm="good") if self.arm == "bad" else None

    def as_named(self) -> Self:
        """The set as a user names it: read once, its arm known, and what is skipped kept in a side file and told."""
        rows = self.read()
        place = self.files()[0]
        if rows.skipped and keeps_skipped():
            side = keep_skipped(place, rows.skipped)
            warnings.warn(
                f"{len(rows.skipped)} bad rows of {place.name} are skipped, {len(rows.bad)} are left: {side}",
                stacklevel=2,
            )
        return self.but(arm="bad") if rows.good is not None and not self.arm else self


def in_step(data: Dataset, control: Dataset) -> tuple[Dataset, Dataset]:
    """A set and its control from two files without the rows whose partner was left out of the other.

    Rows are left out as the reading has it (bad ones, long ones). The two are returned as they are where they are in
    step already, or where nothing was left out, so that rows that do not answer one another are refused by name later.
    """
    if not isinstance(data, RowsFromFiles) or not isinstance(control, RowsFromFiles):
        return data, control
    ours, theirs = data.examples(), control.examples()
    if [row.prompt for row in ours] == [row.prompt for row in theirs]:
        return data, control
    kept = len(_shared(ours, theirs))
    alone = len(ours) - kept, len(theirs) - kept
    if alone[0] > control.read().left_out or alone[1] > data.read().left_out or not kept:
        return data, control
    warnings.warn(
        f"{alone[0]} rows of {data.label()} and {alone[1]} of {control.label()} go with those that were left out of "
        f"the other: {kept} pairs are in step",
        stacklevel=2,
    )
    return data.but(beside=control), control.but(beside=data)


def _shared(ours: Sequence[Example], theirs: Sequence[Example]) -> list[tuple[int, int]]:
    """Places of rows with the same prompt in both, in the order of both."""
    numbers: dict[tuple[Message, ...], int] = {}
    first, second = ([numbers.setdefault(row.prompt, len(numbers)) for row in rows] for rows in (ours, theirs))
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    return [
        (block.a + shift, block.b + shift) for block in matcher.get_matching_blocks() for shift in range(block.size)
    ]


def keep_skipped(place: Path, skipped: Sequence[SkippedRow]) -> Path:
    """Write the skipped rows, a JSON line each, beside the file, else into this folder; where that is."""
    lines = (
        json.dumps({"file": row.file or place.name, "line": row.line, "reason": row.reason, "text": row.text})
        for row in skipped
    )
    text = "".join(f"{line}\n" for line in lines)
    side = place.with_name(f"{place.name}.skipped.jsonl")
    try:
        side.write_text(text, encoding="utf-8")
    except OSError:
        side = Path.cwd() / side.name
        side.write_text(text, encoding="utf-8")
    return side


@functools.lru_cache(maxsize=8)
def _rows(paths: tuple[str, ...], digests: tuple[str, ...], reading: str) -> ChatRows:
    """The rows of these very bytes."""
    return chat_rows(read_contents([Path(path) for path in paths]), RowReading.from_json(reading))
