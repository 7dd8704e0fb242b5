"""Memory of mapped weights: given back where it is the file's, kept where anything was changed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spillover.models.mapped_memory import cast_weights, release
from spillover.models.pretrained import network_in, stored_dtype
from spillover.models.tiny import write_tiny

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is given back on Linux alone")
MIB = 1 << 20


def resident() -> int:
    """Bytes of mapped files that this process has in memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile"))


@pytest.fixture
def mapped(tmp_path: Path) -> torch.Tensor:
    """64 MiB of a file, mapped as transformers maps weights."""
    from safetensors import safe_open

    save_file({"weight": torch.arange(16 * MIB, dtype=torch.float32)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        return file.get_tensor("weight")


def test_what_was_read_is_given_back_and_read_again(mapped: torch.Tensor) -> None:
    total = mapped.double().sum()
    before = resident()
    release([mapped])
    assert before - resident() > 60 * MIB
    assert mapped.double().sum() == total


def test_what_was_changed_stays_changed(mapped: torch.Tensor) -> None:
    mapped[5] = -1.0
    mapped[12 * MIB] = -2.0
    release([mapped, mapped[1:3]])
    assert mapped[5] == -1.0 and mapped[12 * MIB] == -2.0 and mapped[6] == 6.0


def test_memory_of_no_file_is_left_alone() -> None:
    weight = torch.ones(4 * MIB)
    release([weight, weight[:0], weight.view(2048, -1).T])
    assert weight.sum() == 4 * MIB


def test_a_network_is_opened_in_its_files_dtype_and_cast_weight_by_weight(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0)
    assert stored_dtype(tmp_path) == "float32"
    exact, half = network_in(tmp_path, "float32"), network_in(tmp_path, "bfloat16")
    for (name, weight), other in zip(exact.named_parameters(), half.parameters(), strict=True):
        assert torch.equal(weight.to(torch.bfloat16), other), name
    assert half.model.rotary_emb.inv_freq.dtype == torch.float32
    assert half.lm_head.weight is half.model.embed_tokens.weight
    cast_weights(half, "float32")
    assert half.dtype == torch.float32
