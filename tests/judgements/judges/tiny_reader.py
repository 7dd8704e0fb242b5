"""A reader over the tiny random model with random fitted numbers: the class without what was fitted."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from spillover.judgements.judges.reader.judge import Reader
from spillover.judgements.judges.reader.weights import random_part
from spillover.models.catalogue import base_of

WIDTH, INNER = 32, 64  # of the tiny model


def tiny_reader(folder: Path, seed: int = 0) -> Reader:
    """One adapted block of two; its file of fitted numbers is written into `folder`."""
    path = folder / "tiny-reader.safetensors"
    shapes = [("0.self_attn.q_proj", WIDTH, WIDTH), ("0.mlp.up_proj", WIDTH, INNER), ("0.mlp.down_proj", INNER, WIDTH)]
    save_file(random_part(WIDTH, shapes, frozen=1, blocks=2, seed=seed).tensors(), path)
    return Reader(trunk=base_of("tiny:0"), path=str(path), precision="float32")
