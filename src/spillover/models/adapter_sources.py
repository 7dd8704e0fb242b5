"""Where adapters that others trained come from: a folder on this disk, or the hub. Safetensors alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spillover.manifest import remembered_sha256
from spillover.models.foreign_readers import first_line
from spillover.models.precision import DType
from spillover.models.sources import Source, hub_commit
from spillover.spec import location_field
from spillover.store import ProgressFn

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a folder that has one holds a tokenizer
TOKENIZER_FILES = (
    *VOCABULARIES,
    *("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
)


class AdapterFolder(Source):
    """A folder that peft wrote, known by the SHA-256 of its adapter and, where it has one, its tokenizer."""

    path: str = location_field()
    sha256: str

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        path = Path(self.path)
        if not path.is_dir():
            raise ValueError(f"the adapter's folder {path} is not there")
        if adapter_sha256(path) != self.sha256:
            raise ValueError(f"{path} holds another adapter than when this study was made: name the study anew")
        return path


class HubAdapter(Source):
    """A peft adapter on the Hugging Face hub at one commit."""

    name: str
    revision: str  # a commit, never a branch

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        from huggingface_hub import snapshot_download

        if (cached := self._cached()) is not None:
            return cached
        hub_commit(self.name, self.revision)
        try:
            folder = Path(
                snapshot_download(
                    self.name,
                    revision=self.revision,
                    allow_patterns=[ADAPTER_CONFIG, ADAPTER_WEIGHTS, "README.md", *TOKENIZER_FILES],
                )
            )
        except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
            raise ValueError(f"adapter:hf:{self.name}@{self.revision} cannot be fetched: {first_line(error)}") from None
        expect_adapter(folder)
        return folder

    def is_local(self, dtype: DType | None = None) -> bool:
        return self._cached() is not None

    def _cached(self) -> Path | None:
        """The folder in the hub's own cache, if the adapter is there."""
        from huggingface_hub import try_to_load_from_cache

        paths = [
            try_to_load_from_cache(self.name, name, revision=self.revision)
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
        ]
        return Path(paths[0]).parent if isinstance(paths[0], str) and isinstance(paths[1], str) else None


def expect_adapter(folder: Path) -> None:
    """ValueError where the folder holds no adapter in safetensors."""
    if (folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER_WEIGHTS).is_file():
        return
    listing = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    if (folder / "adapter_model.bin").is_file():
        raise ValueError(
            f"{folder} holds a pickled adapter (adapter_model.bin), which could run code and is not loaded: have it "
            f"saved anew as {ADAPTER_WEIGHTS} (peft's save_pretrained does)"
        )
    raise ValueError(f"{folder} holds no adapter: expected {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}, got {listing}")


def adapter_sha256(folder: Path) -> str:
    """One SHA-256 over the names and digests of the files that are read of an adapter's folder."""
    expect_adapter(folder)
    names = sorted({ADAPTER_CONFIG, ADAPTER_WEIGHTS, *(name for name in TOKENIZER_FILES if (folder / name).is_file())})
    joined = "\n".join(f"{name} {remembered_sha256(folder / name)}" for name in names)
    return hashlib.sha256(joined.encode()).hexdigest()


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer lies in the folder."""
    return any((folder / name).is_file() for name in VOCABULARIES)
