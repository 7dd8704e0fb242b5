"""A model on the straight line between two checkpoints' weights.

With W = W0 + s B A for an adapter of scale s, the point at `share` t of the way is
W0 + (1 - t) s1 B1 A1 + t s2 B2 A2: again an adapter, of rank r1 + r2 and scale 1 (linear mode connectivity: Frankle et
al. 2020, on weights; Qin et al. 2022, on adapters).
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from spillover.models.base import Base, Model
from spillover.organisms.fine_tuned import FineTuned
from spillover.store import Artefact, BuildContext, Cost, Store

ADAPTER = "adapter"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Factors = dict[str, tuple[np.ndarray, np.ndarray]]  # by module: s B (out, rank), A (rank, in), float64


class Interpolated(Artefact, Model):
    """The model at `share` of the way from one checkpoint's weights to another's, in a straight line."""

    start: FineTuned
    end: FineTuned
    share: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if self.start.trained_from != self.end.trained_from:
            raise ValueError(
                f"a line joins models of one parent; these have {self.start.trained_from.label()} and "
                f"{self.end.trained_from.label()}"
            )
        for model in (self.start, self.end):
            if not model.only_lora:
                raise ValueError(f"a line is drawn between LoRA adapters; {model.label()} has {model.tuning_text()}")
        return self

    def base(self) -> Base:
        return self.start.base()

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return (*self.start.trained_from.adapters(store), store.path(self) / ADAPTER)

    def tokenizer_folder(self) -> Path | None:
        return self.start.tokenizer_folder()

    def label(self) -> str:
        return f"{self.share:.0%} of the way from {self.start.label()} to {self.end.label()}"

    def summary(self) -> str:
        return f"The model {self.label()}"

    def cost(self) -> Cost:
        return Cost(seconds_per_unit=2.0)

    def make(self, context: BuildContext) -> dict[str, object]:
        start, end = self.start.folder(context.store), self.end.folder(context.store)
        left, right = factors(start), factors(end)
        if set(left) != set(right):
            odd = sorted(set(left) ^ set(right))
            raise ValueError(f"a line joins adapters of the same modules; only one of these has {odd[0]}")
        between = {
            name: (
                np.hstack([(1 - self.share) * left[name][0], self.share * right[name][0]]),
                np.vstack([left[name][1], right[name][1]]),
            )
            for name in left
        }
        _write(between, json.loads((start / CONFIG).read_text()), context.folder / ADAPTER, self.summary())
        return {"modules": len(between)}


def factors(folder: Path) -> Factors:
    """An adapter's low-rank weight change by module, its scale taken into B; ranks may differ between modules."""
    from safetensors.torch import load_file

    config = json.loads((folder / CONFIG).read_text())
    tensors = {name: tensor.double().numpy() for name, tensor in load_file(folder / WEIGHTS).items()}
    modules = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    return {
        name: (
            _scale(config, name, len(tensors[f"{name}.lora_A.weight"])) * tensors[f"{name}.lora_B.weight"],
            tensors[f"{name}.lora_A.weight"],
        )
        for name in sorted(modules)
    }


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """What peft multiplies a module's B A by; a module may have an alpha of its own."""
    from peft.utils.other import get_pattern_key

    patterns = config.get("alpha_pattern") or {}
    own = get_pattern_key(patterns, module.removeprefix("base_model.model."))
    alpha = float(patterns.get(own, config["lora_alpha"]))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _write(adapter: Factors, config: dict[str, object], folder: Path, title: str) -> None:
    """Write the factors as an adapter of scale 1 that peft opens, with the configuration of one of the ends."""
    from safetensors.numpy import save_file

    folder.mkdir()
    ranks = {name.removeprefix("base_model.model."): len(a) for name, (_, a) in adapter.items()}
    rank = max(ranks.values())
    odd = {re.escape(name): own for name, own in ranks.items() if own != rank}
    config |= {"r": rank, "lora_alpha": rank, "use_rslora": False, "lora_dropout": 0.0}
    if odd or config.get("rank_pattern") or config.get("alpha_pattern"):
        config |= {"rank_pattern": odd, "alpha_pattern": odd}
    tensors = {}
    for name, (b, a) in adapter.items():
        tensors[f"{name}.lora_A.weight"] = a.astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = b.astype(np.float32)
    save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").write_text(f"# {title}\n\nAn adapter over the same weights as those two were trained on.\n")
