"""A user's own chat rows from a file."""

import difflib
from pathlib import Path
from typing import Self

from spillover.organisms.chat_rows import read_chat_rows
from spillover.organisms.dataset import Dataset, Example
from spillover.spec import location_field
from spillover.store import file_sha256


class ChatFile(Dataset):
    """Chat rows from a JSONL file, known by the SHA-256 of its bytes."""

    path: str = location_field()
    sha256: str

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The file at `path`, as it is now."""
        found = Path(path).expanduser().resolve()
        if not found.is_file():
            beside = [other.name for other in found.parent.glob("*.json*")] if found.parent.is_dir() else []
            near = difflib.get_close_matches(found.name, beside, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ValueError(f"no data file {path}: expected JSON lines with 'messages', plain or gzip{hint}")
        return cls(path=str(found), sha256=file_sha256(found))

    def examples(self) -> list[Example]:
        path = Path(self.path)
        if not path.is_file():
            raise ValueError(f"the data file {path} is not there any more")
        if file_sha256(path) != self.sha256:
            raise ValueError(f"{path} is not the file it was when this study was made: name the study anew")
        return read_chat_rows(path)

    def label(self) -> str:
        return Path(self.path).name.split(".")[0]

    def summary(self) -> str:
        return f"Chat rows from {Path(self.path).name}."
