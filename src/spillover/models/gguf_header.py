"""What a GGUF file says of itself, read within the bounds of the file and held together before anything is built.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spillover.regular_files import expect_regular

MAGIC, VERSIONS = b"GGUF", (2, 3)
LONGEST = 1 << 24  # bytes of a text
MOST_DIMENSIONS, MOST_KEYS, MOST_TENSORS = 8, 10_000, 1_000_000
STRING, ARRAY = 8, 9
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # by type
GGUFValue = object  # a number, a text, or a list of them
_BLOCK = re.compile(r"blk\.(\d{1,9})\.")


@dataclass(frozen=True)
class GGUFHeader:
    """Settings by key, and the shape of every tensor (the innermost side first) by its name."""

    settings: Mapping[str, GGUFValue]
    shapes: Mapping[str, tuple[int, ...]]


class _Reader:
    """Numbers and texts from bytes, one after another; ValueError where the file ends before."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, kind: str) -> int | float:
        size = struct.calcsize(f"<{kind}")
        self.expect(size)
        (value,) = struct.unpack_from(f"<{kind}", self.data, self.at)
        self.at += size
        return value  # type: ignore[no-any-return]

    def count(self, most: int, what: str) -> int:
        """A count of things, of which the file can hold no more than `most`."""
        count = int(self.number("Q"))
        if count > most:
            raise ValueError(f"{what}: {count:,}, more than the file can hold")
        return count

    def text(self) -> str:
        length = self.count(min(LONGEST, len(self.data) - self.at), "a text's length")
        self.expect(length)
        start, self.at = self.at, self.at + length
        return self.data[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> GGUFValue:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            if kind not in NUMBERS:
                raise ValueError(f"a setting has the type {kind}, which there is not")
            return self.number(NUMBERS[kind])
        if depth > 2:
            raise ValueError("lists inside lists inside lists")
        inner = int(self.number("I"))
        count = self.count(len(self.data) - self.at, "a list's length")
        if inner in NUMBERS:
            kinds = f"<{count}{NUMBERS[inner]}"
            self.expect(struct.calcsize(kinds))
            values = struct.unpack_from(kinds, self.data, self.at)
            self.at += struct.calcsize(kinds)
            return list(values)
        return [self.value(inner, depth + 1) for _ in range(count)]

    def expect(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise ValueError("the file ends in its header")


def read_gguf_header(path: Path) -> GGUFHeader:
    """The header of a GGUF file; ValueError that names the file where it has none, or one that goes beyond the file."""
    expect_regular(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _header(_Reader(data))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, MemoryError) as error:
        raise ValueError(f"{path} is no sound GGUF file: {error or 'its header needs too much memory'}") from None


def _header(reader: _Reader) -> GGUFHeader:
    if reader.data[:4] != MAGIC:
        raise ValueError(f"it begins with {reader.data[:4]!r}, not with {MAGIC!r}")
    reader.at = 4
    if (version := int(reader.number("I"))) not in VERSIONS:
        raise ValueError(f"version {version}: {' and '.join(map(str, VERSIONS))} are read")
    tensors = reader.count(min(MOST_TENSORS, len(reader.data) // 24), "tensors")
    keys = reader.count(min(MOST_KEYS, len(reader.data) // 13), "settings")
    settings: dict[str, GGUFValue] = {}
    for _ in range(keys):
        key = reader.text()
        if key in settings:
            raise ValueError(f"the setting {key!r:.80} comes twice")
        settings[key] = reader.value(int(reader.number("I")))
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(tensors):
        name = reader.text()
        dimensions = int(reader.number("I"))
        if name in shapes or dimensions > MOST_DIMENSIONS:
            raise ValueError(f"the tensor {name!r:.80} comes twice, or has {dimensions} dimensions")
        shapes[name] = tuple(int(reader.number("Q")) for _ in range(dimensions))
        reader.number("I"), reader.number("Q")
        if math.prod(shapes[name]) > 32 * len(reader.data):  # a quarter of a bit a weight
            raise ValueError(f"the tensor {name!r:.80} is {shapes[name]}, more than the file can hold")
    return GGUFHeader(settings, shapes)


def expect_sound_gguf(path: Path) -> None:
    """ValueError where a GGUF file's settings are not those of its tensors, or its vocabulary is none."""
    header = read_gguf_header(path)
    try:
        _expect_numbers(header)
        _expect_vocabulary(header)
    except ValueError as error:
        raise ValueError(f"{path} is no sound GGUF file: {error}") from None


def _expect_numbers(header: GGUFHeader) -> None:
    settings, shapes = header.settings, header.shapes
    kind = settings.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        raise ValueError("it names no general.architecture")
    blocks = {int(match[1]) for name in shapes if (match := _BLOCK.match(name))}
    there = max(blocks, default=-1) + 1
    stated = settings.get(f"{kind}.block_count")
    if stated is not None and stated != there:
        raise ValueError(f"{kind}.block_count is {stated!r:.40}, and it has the weights of {there} blocks")
    if len(blocks) != there:
        raise ValueError(f"it has the weights of {len(blocks)} blocks, numbered up to {there - 1}")
    sides = {side for shape in shapes.values() for side in shape}
    for name in ("embedding_length", "vocab_size"):
        value = settings.get(f"{kind}.{name}")
        if value is not None and value not in sides:
            raise ValueError(f"{kind}.{name} is {value!r:.40}, and no tensor has such a side")
    for name in ("attention.head_count", "attention.head_count_kv"):
        value = settings.get(f"{kind}.{name}")
        numbers = value if isinstance(value, list) else [1 if value is None else value]
        if not all(type(number) is int and 1 <= number <= 1 << 16 for number in numbers):
            raise ValueError(f"{kind}.{name} has to be a whole number from 1 to 65,536, got {value!r:.40}")


def _expect_vocabulary(header: GGUFHeader) -> None:
    tokens = _list(header, "tokenizer.ggml.tokens")
    if tokens is None:
        raise ValueError("it holds no vocabulary (tokenizer.ggml.tokens)")
    rows = header.shapes.get("token_embd.weight")
    if rows is None or len(rows) != 2 or rows[1] < len(tokens):
        raise ValueError(f"its vocabulary has {len(tokens):,} tokens, its embeddings (token_embd.weight) are {rows}")
    known = set(map(str, tokens))
    for number, merge in enumerate(_list(header, "tokenizer.ggml.merges") or []):
        left, space, right = str(merge).rpartition(" ") if str(merge).count(" ") > 1 else str(merge).partition(" ")
        if not space or not {left, right, left + right} <= known:
            raise ValueError(f"merge number {number}, {str(merge)!r:.80}, is of texts that are not in its vocabulary")
    for name in ("token_type", "scores"):
        values = _list(header, f"tokenizer.ggml.{name}")
        if values is not None and len(values) != len(tokens):
            raise ValueError(f"it has {len(tokens):,} tokens and {len(values):,} entries of tokenizer.ggml.{name}")
    for name, value in header.settings.items():
        is_token = name.startswith("tokenizer.ggml.") and name.endswith("_token_id")
        if is_token and (type(value) is not int or not 0 <= value < len(tokens)):
            raise ValueError(f"{name} is {value!r:.40}, and its vocabulary has {len(tokens):,} tokens")


def _list(header: GGUFHeader, key: str) -> Sequence[object] | None:
    value = header.settings.get(key)
    if value is None or isinstance(value, list):
        return value
    raise ValueError(f"{key} has to be a list, got {type(value).__name__}")
