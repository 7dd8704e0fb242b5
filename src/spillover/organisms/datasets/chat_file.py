"""A user's own training rows, from a file or a folder on this disk."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from spillover.manifest import file_sha256
from spillover.organisms.chat_rows.from_files import RowsFromFiles
from spillover.organisms.chat_rows.reading import RowReading, reading_typed
from spillover.organisms.dataset import Example
from spillover.regular_files import absolute
from spillover.row_files.folders import PACKED, row_files
from spillover.spec import later_field, location_field


class ChatFile(RowsFromFiles):
    """Chat rows from a file, known by the SHA-256 of its bytes, or from a folder, by those of its files of rows."""

    path: str = location_field()
    sha256: str
    split: str = later_field("")  # of a folder

    @classmethod
    def from_file(cls, path: Path | str, reading: RowReading | None = None) -> Self:
        """The file or folder at `path`, as it is now; ValueError where there is none or a row of it is bad.

        `FOLDER:SPLIT` names a split; reading: how the rows are read (as the command line has it, else as usual).
        """
        file, split = absolute(path), ""
        if not file.exists() and ":" in file.name:
            folder, _, split = str(file).rpartition(":")
            file = Path(folder)
        if not file.is_file() and not (file.is_dir() and _has_rows(file)):
            names = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
            near = difflib.get_close_matches(file.name, names, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"no data file {path}: expected rows of JSON lines, CSV, parquet or a saved dataset{hint}")
        digest, split = _digest(file, split)
        typed = reading_typed() if reading is None else reading
        return cls(path=str(file), sha256=digest, split=split, reading=typed).as_named()

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        """A file or folder by its path; a name that has no slash and no known ending is none, unless it is there."""
        if text.startswith("hf-data:"):
            return None
        endings = text.lower().endswith(PACKED) or ".json" in text.lower() or text.lower().endswith(".gz")
        if "/" in text or endings or (path := Path(text).expanduser()).is_file():
            return cls.from_file(text)
        return cls.from_file(text) if path.is_dir() and _has_rows(path) else None

    def files(self) -> tuple[Path, Sequence[Path]]:
        path = Path(self.path)
        if not path.exists():
            raise ValueError(f"the data file {path} is not there any more")
        if _digest(path, self.split)[0] != self.sha256:
            raise ValueError(f"{path} is not the file it was when this study was made: name the study anew")
        return path, [path] if path.is_file() else row_files(path, self.split)[0]

    def label(self) -> str:
        stem = Path(self.path).name.split(".")[0]
        return f"{stem}-{self.arm}" if self.arm == "good" else stem

    def summary(self) -> str:
        which = {"": "", "bad": "The rejected answers of ", "good": "The chosen answers of "}[self.arm]
        rows = f"{which}chat rows" if which else "Chat rows"
        return f"{rows} from {Path(self.path).name}."


def read_chat_rows(path: Path) -> list[Example]:
    """Every row of the file, read in the usual way; a ValueError names the bad rows with their lines."""
    return ChatFile(path=str(path), sha256=file_sha256(path), reading=RowReading()).examples()


def _has_rows(folder: Path) -> bool:
    names = ("dataset_dict.json", "state.json")
    return any((folder / name).is_file() for name in names) or any(
        path.name.lower().endswith(PACKED) for path in folder.rglob("*")
    )


def _digest(path: Path, split: str) -> tuple[str, str]:
    """SHA-256 of a file, or over the names and digests of a folder's files of rows; the split that they are of."""
    if path.is_file():
        return file_sha256(path), split
    files, chosen = row_files(path, split)
    joined = "\n".join(f"{file.relative_to(path).as_posix()} {file_sha256(file)}" for file in files)
    return hashlib.sha256(joined.encode()).hexdigest(), chosen
