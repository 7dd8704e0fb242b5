"""Which files of a folder hold the rows: one that the `datasets` library saved, or a tree of data files as hubs have.

Splits go by the names of files and folders, as that library reads them: `train-00000-of-00002.parquet`, `test.jsonl`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from spillover.regular_files import expect_regular

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
PACKED = (*ENDINGS, *(f"{name}{pack}" for name in (*ENDINGS[:5],) for pack in (".gz", ".zst", ".bz2", ".xz")))
NOT_ROWS = {"dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json", "package.json"}
SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "eval")}


def row_files(folder: Path, split: str = "") -> tuple[list[Path], str]:
    """The files with the rows of a split in order, and the split's name (empty: the folder has none).

    Without `split`: `train`, or the only one. ValueError where there are no such rows, naming the splits there are.
    """
    splits = _saved_splits(folder) or _named_splits(folder)
    if not splits:
        listing = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder} holds no rows: expected files in {', '.join(ENDINGS)}, found {listing}")
    chosen = split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else "")
    if chosen not in splits and not (split == "train" and list(splits) == [""]):
        single = folder / chosen
        if chosen and single.is_file() and single.resolve().is_relative_to(folder.resolve()):
            return [single], chosen
        raise ValueError(
            f"{folder} has the splits {', '.join(splits) or 'none'}"
            f"{f' and none called {split}' if split else ': say which, FOLDER:SPLIT'}"
        )
    files = splits[chosen if chosen in splits else ""]
    parents = sorted({str(path.parent.relative_to(folder)) for path in files})
    if len(parents) > 1:
        raise ValueError(
            f"{folder} has rows of {chosen or 'one split'} in several folders ({', '.join(parents[:8])}): name one of "
            f"these folders, or a file after the colon"
        )
    return files, chosen


def _saved_splits(folder: Path) -> dict[str, list[Path]]:
    """The files by split of what `save_to_disk` wrote; empty for any other folder."""
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json").get("splits", [])
        return {name: _saved_files(folder / name) for name in names if isinstance(name, str)}
    return {"": _saved_files(folder)} if (folder / "state.json").is_file() else {}


def _saved_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError(f"{folder} is a shuffled or filtered view: save it with flatten_indices() first")
    files = [folder / str(entry["filename"]) for entry in state.get("_data_files") or []]
    inside = folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(inside) or not path.is_file():
            raise ValueError(f"{folder}: state.json names {path.name}, which is not there")
    return files


def _named_splits(folder: Path) -> dict[str, list[Path]]:
    """Data files by the split that their path below the folder names; all are one where no path names any."""
    splits: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in below.parts)
        if path.is_file() and not hidden and path.name not in NOT_ROWS and path.name.lower().endswith(PACKED):
            splits.setdefault(_split_of(below), []).append(path)
    if "" in splits and len(splits) > 1:
        del splits[""]  # files beside those of splits are not rows of any
    return splits


def _split_of(path: Path) -> str:
    words = {word for part in path.parts for word in re.split(r"[^a-z0-9]+|\d+", part.lower())}
    return next((name for name, spellings in SPLITS.items() if words & set(spellings)), "")


def _json(path: Path) -> dict[str, list]:
    try:
        data = json.loads(expect_regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return data if isinstance(data, dict) else {}
