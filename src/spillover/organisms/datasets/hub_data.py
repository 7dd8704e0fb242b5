"""Training rows from a dataset on the Hugging Face hub at one commit: `hf-data:OWNER/NAME@REVISION[:SPLIT]`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from spillover.models.foreign_readers import first_line
from spillover.organisms.chat_rows.from_files import RowsFromFiles
from spillover.organisms.chat_rows.reading import reading_typed
from spillover.row_files.folders import PACKED, row_files
from spillover.spec import later_field

PREFIX = "hf-data:"
_FORM = re.compile(r"hf-data:([\w.-]+/[\w.-]+)(?:@([^:]+))?(?::(.+))?")


class HubData(RowsFromFiles):
    """Chat rows from a dataset on the hub: its files of rows, in the hub's own cache; no code of it runs."""

    name: str
    revision: str  # a commit, never a branch
    split: str = later_field("")  # or the path of a file in it

    @classmethod
    def from_typed_path(cls, text: str) -> Self | None:
        """`hf-data:OWNER/NAME@REVISION[:SPLIT]`, main where no revision is given, at its commit now."""
        if not text.startswith(PREFIX):
            return None
        match = _FORM.fullmatch(text)
        if not match:
            raise ValueError(f"a dataset on the hub goes by hf-data:OWNER/NAME@REVISION[:SPLIT], got {text}")
        name, revision, split = match[1], match[2] or "main", match[3] or ""
        return cls(name=name, revision=_commit(name, revision), split=split, reading=reading_typed()).as_named()

    def files(self) -> tuple[Path, Sequence[Path]]:
        folder = _snapshot(self.name, self.revision)
        return Path(f"{PREFIX}{self.name}@{self.revision[:8]}"), row_files(folder, self.split)[0]

    def label(self) -> str:
        stem = self.name.rpartition("/")[2]
        return f"{stem}-{self.arm}" if self.arm == "good" else stem

    def summary(self) -> str:
        return f"Chat rows of {self.name} on the hub at {self.revision[:8]}{f', {self.arm} arm' if self.arm else ''}."


def _commit(name: str, revision: str) -> str:
    """The commit that a branch, tag or commit is; a ValueError where the hub does not say."""
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import HfApi, snapshot_download

    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=20).sha)
    except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
        with contextlib.suppress(Exception):  # what the cache has of it
            return Path(snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)).name
        raise ValueError(
            f"{PREFIX}{name}@{revision} is not found ({first_line(error)}); is the name right and the hub reachable? "
            f"A file or folder on this disk goes by its path"
        ) from None


def _snapshot(name: str, revision: str) -> Path:
    """The dataset's files of rows, from the hub's cache where they are there."""
    from huggingface_hub import snapshot_download

    patterns = [f"*{ending}" for ending in PACKED]
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
        raise ValueError(f"{PREFIX}{name}@{revision} cannot be fetched: {first_line(error)}") from None
