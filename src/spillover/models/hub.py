"""Models on the Hugging Face hub at one commit: found in its cache or fetched. Knows no other source."""

from __future__ import annotations

import json
from pathlib import Path

from spillover.models.sources import WEIGHT_PATTERNS, Source, first_line
from spillover.store import ProgressFn


class HubModel(Source):
    """A model on the Hugging Face hub at one commit."""

    name: str
    revision: str  # a commit, never a branch

    def folder(self, progress: ProgressFn = lambda share: None) -> Path:
        from huggingface_hub import snapshot_download

        kept = self._kept()
        if kept is not None:
            return kept
        hub_commit(self.name, self.revision)  # fails at once where the hub's own client would try again for long
        patterns = [*WEIGHT_PATTERNS, "README.md"]
        try:
            found = snapshot_download(
                self.name, revision=self.revision, allow_patterns=patterns, ignore_patterns=["*/*"]
            )
        except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
            raise ValueError(f"hf:{self.name}@{self.revision} cannot be fetched: {first_line(error)}") from None
        if not list(Path(found).glob("*.safetensors")):
            raise ValueError(
                f"hf:{self.name} has no safetensors weights at {self.revision}; pickled ones are not loaded"
            )
        return Path(found)

    def here(self) -> bool:
        return self._kept() is not None

    def _kept(self) -> Path | None:
        """The folder in the hub's own cache, if its weights are all there."""
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(self.name, "config.json", revision=self.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
        index = folder / "model.safetensors.index.json"
        shards = {"model.safetensors"}
        if index.exists():
            shards = set(json.loads(index.read_text())["weight_map"].values())
        tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
        return folder if tokenizer and all((folder / shard).exists() for shard in shards) else None


def hub_commit(name: str, revision: str) -> str:
    """The commit that a branch, tag or commit of a model on the hub is; a ValueError where the hub does not say."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(name, revision=revision, timeout=20).sha)
    except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
        raise ValueError(
            f"hf:{name}@{revision} is not found ({first_line(error)}); is the name right and the hub reachable? "
            f"A model on this disk goes by its folder"
        ) from None
