"""Rows put in any order give the very bytes of safetensors' own writer; a row left out or put twice is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spillover.activations.array_file import ArrayFile

NAMES = ["resid_post.00.last", "embed.last", "attn_out.00.mean"]
ARRAYS = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def test_the_bytes_are_those_of_the_library(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "ours.safetensors", NAMES, 5, 4)
    for rows in ([3, 0], [4], [1, 2]):
        file.write_rows(rows, ARRAYS[:, rows])
    file.close()
    named = dict(zip(NAMES, ARRAYS, strict=True))
    save_file(named, tmp_path / "theirs.safetensors")
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    for name, array in load_file(tmp_path / "ours.safetensors").items():
        np.testing.assert_array_equal(array, named[name])


def test_every_row_is_put_once(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "a.safetensors", NAMES, 5, 4)
    file.write_rows([0, 2], ARRAYS[:, [0, 2]])
    with pytest.raises(ValueError, match="a row is written twice"):
        file.write_rows([2], ARRAYS[:, [2]])
    with pytest.raises(ValueError, match="3 of 5 rows were not written, first 1"):
        file.close()
    with pytest.raises(ValueError, match="names that do not repeat"):
        ArrayFile(tmp_path / "b.safetensors", ["a", "a"], 5, 4)


def test_a_full_disk_is_found_out_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        ArrayFile(tmp_path / "a.safetensors", NAMES, 5, 4)
