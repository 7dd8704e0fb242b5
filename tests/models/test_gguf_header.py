"""GGUF files that lie: their settings are held against their tensors, and nothing beyond the file is believed."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from models.tiny_gguf import HEADS, WIDTH, write_tiny_gguf
from spillover.models.conversion import convert_gguf
from spillover.models.gguf_header import expect_sound_gguf, read_gguf_header

Setting = Callable[[gguf.GGUFWriter], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_what_a_sound_file_says_is_read_as_by_the_formats_own_reader(path: Path) -> None:
    arrays = write_tiny_gguf(path)
    header = read_gguf_header(path)
    reader = gguf.GGUFReader(path)
    assert header.shapes == {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    assert set(header.shapes) == set(arrays)
    theirs = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert header.settings == theirs
    assert header.settings["llama.embedding_length"] == WIDTH and header.settings["llama.block_count"] == 1
    expect_sound_gguf(path)


def written(path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """The tiny file with what some of the writer's methods are given replaced."""
    for name, value in changes.items():
        real = getattr(gguf.GGUFWriter, name)
        monkeypatch.setattr(gguf.GGUFWriter, name, lambda self, given, real=real, value=value: real(self, value))
    write_tiny_gguf(path)


LIES = {
    "add_block_count": (10**9, r"llama\.block_count is 1000000000, and it has the weights of 1 blocks"),
    "add_embedding_length": (10**7, r"llama\.embedding_length is 10000000, and no tensor has such a side"),
    "add_head_count": (0, r"head_count has to be a whole number from 1 to 65,536, got 0"),
    "add_head_count_kv": (0, r"head_count_kv has to be a whole number from 1"),
    "add_vocab_size": (10, r"vocab_size is 10, and no tensor has such a side"),
    "add_token_merges": (["zz yy"], r"merge number 0, 'zz yy', is of texts that are not in its vocabulary"),
    "add_token_types": ([1, 1], r"tokens and 2 entries of tokenizer\.ggml\.token_type"),
    "add_eos_token_id": (10**6, r"eos_token_id is 1000000, and its vocabulary has 259 tokens"),
    "add_token_list": ([f"t{n}" for n in range(300)], r"vocabulary has 300 tokens, its embeddings .* are \(32, 259\)"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_told_before_anything_is_built(what: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, message = LIES[what]
    written(path, monkeypatch, **{what: value})
    with pytest.raises(ValueError, match=rf"x cannot be converted: .*no sound GGUF file: .*{message}"):
        convert_gguf(path, path.parent / "out", "float32", "x")
    began = time.monotonic()
    with pytest.raises(ValueError, match=message):
        expect_sound_gguf(path)
    assert time.monotonic() - began < 1


def test_a_merge_whose_whole_is_no_token(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, monkeypatch, add_token_merges=["b a"])  # each is one, "ba" is not: a panic in the library
    with pytest.raises(ValueError, match="merge number 0, 'b a'"):
        expect_sound_gguf(path)


def field(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


HEADERS = {
    "nothing": b"",
    "not one": b"PK\x03\x04" + bytes(60),
    "a version": b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(60),
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0) + bytes(60),
    "settings": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(60),
    "a text": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(60),
    "a list": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field("a", 9, struct.pack("<IQ", 4, 2**61)) + bytes(60),
    "a list of texts": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field("a", 9, struct.pack("<IQ", 8, 2**40)),
    "lists in lists": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field("a", 9, struct.pack("<IQ", 9, 1) * 50),
    "a type": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + field("a", 99, b"") + bytes(60),
    "twice": b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + field("a", 0, b"1") * 2 + bytes(60),
    "no kind": b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(60),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_is_none_is_one_clear_error(what: str, path: Path) -> None:
    path.write_bytes(HEADERS[what])
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"model\.gguf (is no sound GGUF file|cannot be read)"):
        expect_sound_gguf(path)
    assert time.monotonic() - began < 1


def test_every_cut_and_many_changes_are_an_error_or_a_sound_file(path: Path) -> None:
    write_tiny_gguf(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    assert HEADS == 4
    for at in random.integers(0, 9000, 150):
        changed = bytearray(whole)
        changed[at] ^= 1 << random.integers(8)
        for data in (whole[:at], bytes(changed)):
            path.write_bytes(data)
            with contextlib.suppress(ValueError):
                expect_sound_gguf(path)
