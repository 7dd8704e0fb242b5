"""Weights written anew as safetensors: from a GGUF file, or in another dtype."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spillover.models.foreign_readers import first_line
from spillover.models.precision import DType
from spillover.store import ProgressFn

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 1 << 30  # of a file of weights, about
INDEX = "model.safetensors.index.json"


def convert_gguf(path: Path, folder: Path, dtype: DType, name: str) -> dict[str, object]:
    """Write a GGUF file's weights, dequantised, and its tokenizer into `folder`; ValueError under `name` if not."""
    import transformers

    from spillover.models.gguf_header import expect_sound_gguf
    from spillover.models.pretrained import network_from, no_progress_bars, tokenizer_from

    dequantised = transformers.GgufConfig(dequantize=True)
    options = {"gguf_file": path.name, "quantization_config": dequantised, "use_safetensors": None}
    try:
        expect_sound_gguf(path)
        network = network_from(path.parent, dtype=dtype, **options)
        network.config._name_or_path = ""
        with no_progress_bars():
            network.save_pretrained(folder, max_shard_size=SHARD_BYTES)
            tokenizer_from(path.parent, gguf_file=path.name).save_pretrained(folder)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the readers of foreign files raise whatever they stumble over
        raise ValueError(f"{name} cannot be converted: {first_line(error)}") from error
    return {"parameters": sum(weight.numel() for weight in network.parameters())}


def cast_folder(
    source: Path, folder: Path, dtype: DType, progress: ProgressFn = lambda share: None
) -> dict[str, object]:
    """Write the model in `source` into `folder` in another dtype; no more than a shard of it is ever in memory."""
    import torch
    from safetensors import safe_open

    shards = Shards(folder)
    for number, path in enumerate(paths := sorted(source.glob("*.safetensors"))):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                shards.add(name, file.get_tensor(name).to(getattr(torch, dtype)))
        progress((number + 1) / len(paths))
    shards.close()
    for path in source.iterdir():
        if path.suffix in (".json", ".jinja", ".txt", ".model") and path.name not in ("manifest.json", INDEX):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(json.dumps(config | {"dtype": dtype}, indent=2, sort_keys=True) + "\n")
    return {"parameters": shards.parameters}


class Shards:
    """A model's weights written into files of about `SHARD_BYTES` as they come, and the index of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.parameters = folder, 0
        self._waiting: dict[str, Tensor] = {}
        self._files: list[list[str]] = []  # names of the tensors in each
        self._bytes = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """One more weight."""
        self._waiting[name] = tensor.contiguous()
        self.parameters += tensor.numel()
        if sum(waiting.nbytes for waiting in self._waiting.values()) >= SHARD_BYTES:
            self._write()

    def close(self) -> None:
        """Write what waits, and the index."""
        if self._waiting or not self._files:
            self._write()
        count = len(self._files)
        weight_map: dict[str, str] = {}
        for number, names in enumerate(self._files, start=1):
            final = f"model-{number:05d}-of-{count:05d}.safetensors"
            (self.folder / _file(number)).rename(self.folder / final)
            weight_map |= dict.fromkeys(names, final)
        index = {"metadata": {"total_size": self._bytes}, "weight_map": weight_map}
        (self.folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")

    def _write(self) -> None:
        from safetensors.torch import save_file

        self._files.append(list(self._waiting))
        self._bytes += sum(tensor.nbytes for tensor in self._waiting.values())
        save_file(self._waiting, self.folder / _file(len(self._files)), metadata={"format": "pt"})
        self._waiting = {}


def _file(number: int) -> str:
    return f"model-{number:05d}.safetensors"
