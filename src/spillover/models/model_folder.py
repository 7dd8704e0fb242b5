"""A model's folder before anything is built of it: its own regular files alone, and a configuration that is that of its
weights. What transformers reads of a folder is what its identity covers."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from spillover.models.weight_headers import TensorShapes, tensor_shapes
from spillover.regular_files import expect_regular, unlike_a_file

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
TEMPLATES = "additional_chat_templates"
WEIGHT_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "*.txt")
MORE_PATTERNS = ("*.model", "*.spm", "*.tiktoken", "*.bpe", f"{TEMPLATES}/*.jinja")  # of vocabularies and templates
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
LARGEST_JSON = 16 << 20  # bytes of a configuration
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = ("hidden_size", "n_embd", "d_model", "vocab_size")  # each is a side of some weight
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads")
MOST_HEADS = 1 << 16
_COUNTS = re.compile("layers|experts|depth|blocks")  # in the names of settings by which modules are built
_LAYER = re.compile(r"^(.*?)(?:^|\.)(?:layers|h|blocks|layer|block)\.(\d+)\.")
_NOT_TEXT = re.compile("vision|visual|image|audio|encoder|mtp")  # in names of weights beside the text model's


def model_files(folder: Path) -> list[Path]:
    """The files that a model's identity covers, in order; ValueError where one is no regular file of this folder."""
    paths = sorted({path for pattern in (*WEIGHT_PATTERNS, *MORE_PATTERNS) for path in folder.glob(pattern)})
    for path in [*paths, folder / "README.md"]:
        expect_regular(path)
        if path.is_symlink() and not _within(path, folder):
            raise ValueError(
                f"{path} is a link to {path.readlink()}, out of the model's folder: put the file itself there"
            )
    for name in ADAPTERS:
        if (folder / name).exists():
            raise ValueError(
                f"{folder} holds {name} beside a whole model, and what is loaded would be both: name an adapter by "
                f"adapter:FOLDER, or take the file out"
            )
    return paths


def expect_sound_model(folder: Path) -> None:
    """ValueError where a model's folder is not what its identity covers, or its configuration is not that of its
    weights: another number of layers, sizes that no weight has, heads that are none."""
    files = model_files(folder)
    _sound(folder, tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@functools.lru_cache(maxsize=64)
def _sound(folder: Path, files: tuple[tuple[str, int, int], ...]) -> None:
    """`files`: names, sizes and times of change, so that a folder is looked at again once it is another."""
    config = read_object(folder / CONFIG)
    if "transformers_weights" in config:
        raise ValueError(f"{folder / CONFIG} names a file of weights (transformers_weights): take that setting out")
    _expect_own_vocabulary(folder)
    _expect_own_shards(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        shapes |= tensor_shapes(path)
    if not shapes:
        raise ValueError(f"{folder} holds no weights in safetensors; pickled ones are not loaded")
    _expect_numbers(folder / CONFIG, config, shapes)


def read_object(path: Path) -> dict[str, object]:
    """The JSON object in a file of settings; ValueError that names the file where there is none."""
    expect_regular(path)
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"more than {LARGEST_JSON >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError(f"{path} is no JSON of settings: it is nested too deeply") from None
    except ValueError as error:
        long = "Exceeds the limit" in str(error)
        why = "an integer of thousands of digits" if long else str(error)
        raise ValueError(f"{path} is no JSON of settings: {why}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _within(path: Path, folder: Path) -> bool:
    """Whether a link stays in the folder, or in the hub's cache, whose files lie beside the folders of commits."""
    target, home = path.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs"
    return target.is_relative_to(home) or (home.parent.name == "snapshots" and target.is_relative_to(blobs))


def _expect_own_shards(folder: Path) -> None:
    """The index names files of this folder, whose digests are in its identity, and nothing else."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ValueError(f"{index}: expected weight_map, an object with a file for each weight")
        for name in sorted({str(shard) for shard in shards.values()}):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ValueError(f"{index} names {name!r:.200}, which is no safetensors file of this folder")
            if unlike_a_file(folder / name) is not None or not (folder / name).is_file():
                raise ValueError(f"{index} names {name!r:.200}, which is not there")


def _expect_own_vocabulary(folder: Path) -> None:
    """The tokenizer's settings name no file elsewhere on this machine."""
    if not (folder / TOKENIZER_CONFIG).exists():
        return
    for key, value in read_object(folder / TOKENIZER_CONFIG).items():
        if key.endswith(("_file", "_files")):
            for name in value if isinstance(value, list) else [value]:
                outside = isinstance(name, str) and Path(name).name != name and (folder / name[:4000]).exists()
                if outside and not (folder / str(name)).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"{folder / TOKENIZER_CONFIG}: {key} names {name!r:.200}, outside the folder")


# --- numbers


def _expect_numbers(path: Path, config: Mapping[str, object], shapes: TensorShapes) -> None:
    sides = {side for shape in shapes.values() for side in shape}
    most = max(len(shapes), max(sides, default=0))
    for name, value in _settings(config):
        if _COUNTS.search(name) and isinstance(value, int) and abs(value) > most:
            raise ValueError(f"{path}: {name} is {value:.3g}, and the weights are {len(shapes)} arrays: it cannot be")
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for name in (*LAYERS, *HEADS, *WIDTHS):
            value = part.get(name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{path}: {name} has to be a whole number from 1 on, got {value!r:.60}")
        for name in HEADS:
            if int(str(part.get(name) or 1)) > MOST_HEADS:
                raise ValueError(f"{path}: {name} is {part[name]}, more than any model has")
        for name in WIDTHS:
            if part.get(name) is not None and part[name] not in sides:
                raise ValueError(f"{path}: {name} is {part[name]}, and no weight in the folder has such a side")
    _expect_layers(path, inner if isinstance(inner, dict) else config, shapes)


def _settings(config: Mapping[str, object], depth: int = 0) -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        yield name, value
        if isinstance(value, dict) and depth < 3:
            yield from _settings(value, depth + 1)


def _expect_layers(path: Path, config: Mapping[str, object], shapes: TensorShapes) -> None:
    """As many layers as there are weights of: transformers leaves out what is too much, and says it in a log alone."""
    stated = next((config[name] for name in LAYERS if config.get(name) is not None), None)
    counts: dict[str, int] = {}
    for name in shapes:
        if (match := _LAYER.match(name)) and not _NOT_TEXT.search(match[1]):
            counts[match[1]] = max(counts.get(match[1], 0), int(match[2][:9]) + 1)
    if not isinstance(stated, int) or len(counts) != 1:
        return
    (there,) = counts.values()
    extra = config.get("num_nextn_predict_layers")
    spare = extra if isinstance(extra, int) else 0  # layers that foretell further tokens stand after the last
    if not stated <= there <= stated + spare:
        raise ValueError(f"{path} says that the model has {stated} layers, and the folder has the weights of {there}")


def expect_size(folder: Path, parameters: int, buffers: int) -> None:
    """ValueError where the network that the configuration describes is larger than the weights in the folder.

    parameters, buffers: numbers in the network, without those that are there twice.
    """
    if "quantization_config" in read_object(folder / CONFIG):
        return  # several weights lie in a number
    there = sum(math.prod(shape) for path in folder.glob("*.safetensors") for shape in tensor_shapes(path).values())
    if parameters > 2 * there + (1 << 20):
        raise ValueError(
            f"the configuration in {folder} describes a network of {parameters:,} parameters, its files hold {there:,}"
        )
    if buffers > 10 * there + (1 << 28):
        raise ValueError(f"the configuration in {folder} describes tables of {buffers:,} numbers beside its weights")
