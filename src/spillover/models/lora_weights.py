"""LoRA weights read from peft's folders, to lie beside a network's weights instead of in them.

Adapters kept apart let many checkpoints of one base be asked in one batch, and nothing is copied or merged for one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spillover.models.adapters import held_by

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_UNEVEN = ("alpha_pattern", "rank_pattern", "fan_in_fan_out")  # an adapter whose layers are scaled unlike one another
_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")


@dataclass(frozen=True)
class LoRAWeights:
    """What adapters, one laid over another, add to one linear layer: rows (n, in) -> rows @ down.T @ up.T.

    down: (rank of all, in); up: (out, rank of all), with the scales in it.
    """

    down: Tensor
    up: Tensor

    def to(self, dtype: torch.dtype) -> LoRAWeights:
        """The same in another dtype."""
        return LoRAWeights(self.down.to(dtype), self.up.to(dtype))


AdapterWeights = Mapping[str, LoRAWeights]  # by the linear layer's name in the network


def read_lora(folders: Sequence[Path]) -> AdapterWeights | None:
    """What these adapters, laid one over another, add to a network's layers; None where that is not all they do.

    Whole weights, DoRA and adapters with biases are more; those are merged (`loading.load`).
    """
    import torch

    layers: dict[str, list[LoRAWeights]] = {}
    for folder in folders:
        adapter = _read_adapter(folder)
        if adapter is None:
            return None
        for name, weights in adapter.items():
            layers.setdefault(name, []).append(weights)
    return {
        name: LoRAWeights(torch.cat([part.down for part in parts]), torch.cat([part.up for part in parts], dim=1))
        for name, parts in layers.items()
    }


def _read_adapter(folder: Path) -> AdapterWeights | None:
    from safetensors.torch import load_file

    path = folder / "adapter_config.json"
    if not path.exists():
        return None
    config = json.loads(path.read_text())
    if held_by(folder) != "lora" or any(config.get(key) for key in _UNEVEN):
        return None
    scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    matrices: dict[str, dict[str, Tensor]] = {}
    for key, matrix in load_file(folder / "adapter_model.safetensors").items():
        if (match := _KEY.fullmatch(key)) is None:
            return None
        matrices.setdefault(match[1], {})[match[2]] = matrix.float()
    return {name: LoRAWeights(pair["A"], pair["B"] * scale) for name, pair in matrices.items()}
