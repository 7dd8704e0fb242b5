"""A dataset whose rows lie in files that others wrote: read through one door, bad rows named or skipped on request."""

from __future__ import annotations

import functools
import json
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from spillover.manifest import remembered_sha256
from spillover.organisms.chat_rows.reading import RowReading, keeps_skipped
from spillover.organisms.chat_rows.rows import ChatRows, PairArm, SkippedRow, bad_rows_text, chat_rows
from spillover.organisms.dataset import Dataset, Example
from spillover.row_files.reading import read_contents
from spillover.spec import later_field


class RowsFromFiles(Dataset):
    """Chat rows from files, in any layout, container and encoding that `row_files` and `chat_rows` read."""

    reading: RowReading = later_field(RowReading())
    arm: PairArm = later_field("")  # of pairs (chosen + rejected): bad, the rejected answers, or good, the chosen ones

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
        return self.read().examples(self.arm)

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
