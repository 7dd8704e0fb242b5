"""Low-rank adapters read from their folders, to lie beside the weights instead of in them. Knows peft's files.

Adapters kept apart let many checkpoints of one base be asked in one batch, and nothing is copied or merged for one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLAIN = {"peft_type": "LORA", "bias": "none"}  # what must be so, else an adapter is more than two thin matrices
_ABSENT = ("use_dora", "modules_to_save", "lora_bias", "alpha_pattern", "rank_pattern", "fan_in_fan_out", "use_qalora")
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")


@dataclass(frozen=True)
class Thin:
    """One adapter's part in one linear layer: down (rank, in), up (out, rank), and the scale of their product."""

    down: Any
    up: Any
    scale: float


@dataclass(frozen=True)
class LowRank:
    """What adapters, one laid over another, add to one linear layer: rows (n, in) -> rows @ down.T @ up.T."""

    parts: tuple[Thin, ...]

    @property
    def down(self) -> Any:
        """(rank of all, in)."""
        import torch

        return torch.cat([part.down for part in self.parts])

    @property
    def up(self) -> Any:
        """(out, rank of all), with the scales."""
        import torch

        return torch.cat([part.up * part.scale for part in self.parts], dim=1)


Change = Mapping[str, LowRank]  # by the layer's name in the network


def low_rank(folders: Sequence[Path]) -> Change | None:
    """What these adapters, laid one over another, add to a network's layers; None where that is not all they do.

    Whole weights, DoRA and adapters with biases are more; those are merged (`loading.load`).
    """
    found: dict[str, tuple[Thin, ...]] = {}
    for folder in folders:
        one = _read(folder)
        if one is None:
            return None
        for name, part in one.items():
            found[name] = (*found.get(name, ()), part)
    return {name: LowRank(parts) for name, parts in found.items()}


def _read(folder: Path) -> dict[str, Thin] | None:
    from safetensors.torch import load_file

    path = folder / "adapter_config.json"
    if not path.exists():
        return None
    config = json.loads(path.read_text())
    if any(config.get(name) != value for name, value in _PLAIN.items()) or any(config.get(name) for name in _ABSENT):
        return None
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    parts: dict[str, dict[str, Any]] = {}
    for key, weight in load_file(folder / "adapter_model.safetensors").items():
        if (named := _NAME.fullmatch(key)) is None:
            return None
        parts.setdefault(named[1], {})[named[2]] = weight.float()
    return {name: Thin(part["A"], part["B"], scale) for name, part in parts.items()}
