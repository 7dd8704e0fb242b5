"""From the bytes of a file to text: packing (gzip, zstd, bzip2, xz) and encoding are read off the bytes, not the name.

Bytes that are not text of the encoding become lone surrogates (`surrogateescape`), so that they cost their own row
alone: `not_text` knows them.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from spillover.regular_files import expect_regular

LARGEST = 512_000_000  # bytes of a file of rows, as it lies and unpacked
LEAST_UNPACKED, MOST_PACKED = 64_000_000, 30  # bytes that any file may unpack to; bytes that one may become
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
        expect_regular(path)
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{size:,} bytes, {LARGEST:,} are the most that are read of a file of rows: split it")
        data = path.read_bytes()
        for magic, name, open_packed in _PACKINGS:
            if data.startswith(magic):
                with open_packed(data) as packed:
                    return Unpacked(_refusing(bounded(packed, len(data))), name)
        return Unpacked(_refusing(data), "")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def bounded(packed: BinaryIO, size: int) -> bytes:
    """All that unpacks from a file of `size` bytes; ValueError as soon as it is more than rows pack into so few."""
    most = most_unpacked(size)
    parts, length = [], 0
    while part := packed.read(1 << 20):
        parts.append(part)
        length += len(part)
        if length > most:
            raise ValueError(f"{size:,} bytes that unpack to more than {most:,}, which no file of rows does")
    return b"".join(parts)


def most_unpacked(size: int) -> int:
    """How many bytes at most are read of what a packed file of `size` bytes holds."""
    return min(LARGEST, max(LEAST_UNPACKED, MOST_PACKED * size))


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


def _zstd(data: bytes) -> BinaryIO:
    import pyarrow as pa

    stream: BinaryIO = pa.input_stream(pa.BufferReader(data), compression="zstd")
    return stream


_PACKINGS: tuple[tuple[bytes, str, Callable[[bytes], BinaryIO]], ...] = (
    (b"\x1f\x8b", "gzip", lambda data: cast(BinaryIO, gzip.GzipFile(fileobj=io.BytesIO(data)))),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"BZh", "bzip2", lambda data: cast(BinaryIO, bz2.BZ2File(io.BytesIO(data)))),
    (b"\xfd7zXZ", "xz", lambda data: cast(BinaryIO, lzma.LZMAFile(io.BytesIO(data)))),  # noqa: SIM115
)
