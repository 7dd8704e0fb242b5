"""From the bytes of a file to text: packing (gzip, zstd, bzip2, xz) and encoding are read off the bytes, not the name.

Bytes that are not text of the encoding become lone surrogates (`surrogateescape`), so that they cost their own row
alone: `not_text` knows them.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINE_END = re.compile("\r\n|\r|\n")  # U+2028, U+0085 and their like are characters of a text, and end no line
_SURROGATE = re.compile("[\ud800-\udfff]")
_OF_A_BYTE = re.compile("[\udc80-\udcff]")
_REFUSED = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: save its table as CSV, or unpack it"),
    (b"\x80\x04", "a pickle, which can run code when it is opened: write JSON lines or parquet"),
    (b"\x80\x05", "a pickle, which can run code when it is opened: write JSON lines or parquet"),
    (b"version https://git-lfs", "a pointer of git lfs, not the file: git lfs pull fetches it"),
    (b"%PDF", "a PDF"),
)
_BOMS = (  # the long ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8", "UTF-8 with BOM"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


@dataclass(frozen=True)
class Unpacked:
    """The bytes of a file, and the packing that they came out of; empty where there was none."""

    data: bytes
    packing: str


def unpacked(path: Path) -> Unpacked:
    """The bytes of a file, out of gzip, zstd, bzip2 or xz whatever its name; ValueError where they cannot be read."""
    try:
        data = path.read_bytes()
        for magic, name, unpack in _PACKINGS:
            if data.startswith(magic):
                return Unpacked(_refusing(unpack(data)), name)
        return Unpacked(_refusing(data), "")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decoded(data: bytes) -> tuple[str, str]:
    """Text and the name of its encoding: by its BOM, else UTF-16 where every other byte is 0, else UTF-8."""
    for mark, codec, name in _BOMS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], codec), name
    head = data[:2]
    if len(head) == 2 and b"\0" in head and head != b"\0\0":
        return _decode(data, "utf-16-le" if head[1] == 0 else "utf-16-be"), "UTF-16 without BOM"
    return _decode(data, "utf-8"), "UTF-8"


def not_text(text: str) -> str | None:
    """Why a text is none: bytes that are not of the encoding, or half a character; None where all is well."""
    if text.isascii():
        return None
    match = _OF_A_BYTE.search(text)
    if match:
        return f"expected UTF-8 text, got byte 0x{ord(match[0]) - 0xDC00:02x} (iconv or an editor saves it as UTF-8)"
    if _SURROGATE.search(text):
        return f"expected text, got half a character (a lone surrogate) in {text[:60]!a}"
    return None


def _decode(data: bytes, codec: str) -> str:
    width = {"utf-8": 1, "utf-16-le": 2, "utf-16-be": 2}.get(codec, 4)
    if len(data) % width:
        raise ValueError(f"the text is cut off: {len(data)} bytes are no whole number of {codec} characters")
    return data.decode(codec, "surrogateescape" if width == 1 else "surrogatepass")


def _refusing(data: bytes) -> bytes:
    for magic, what in _REFUSED:
        if data.startswith(magic):
            raise ValueError(f"it is {what}")
    if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ValueError("it is a web page: fetch the file itself (its raw link)")
    return data


def _zstd(data: bytes) -> bytes:
    import pyarrow as pa

    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        return bytes(stream.read())


_PACKINGS: tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", gzip.decompress),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"BZh", "bzip2", bz2.decompress),
    (b"\xfd7zXZ", "xz", lzma.decompress),
)
