"""What is tuned: low-rank adapters and the modules they sit on (METHOD.md's variants). Knows peft, no training loop."""

from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic import Field

from spillover.spec import Spec

MODULES = {
    "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "attention-kv": ("k_proj", "v_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "mlp-down": ("down_proj",),
}


class LoRA(Spec):
    """Low-rank adapters (Hu et al. 2021), rank-stabilised: scaled by alpha / sqrt(rank) (Kalajdzievski 2023)."""

    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rank_stabilised: bool = True
    modules: Literal["all", "attention", "attention-kv", "mlp", "mlp-down"] = "all"

    def wrap(self, network: Any, seed: int, base_name: str) -> Any:
        """The network with fresh adapters drawn from `seed` (B starts at zero, so nothing changes yet)."""
        import torch
        from peft import LoraConfig, get_peft_model

        leaves = {name.rsplit(".", 1)[-1] for name, _ in network.named_modules()}
        missing = [name for name in MODULES[self.modules] if name not in leaves]
        if missing:
            raise ValueError(
                f"modules={self.modules!r} tunes {', '.join(missing)}, which this {type(network).__name__} has not; "
                f"it has linear layers called {', '.join(sorted(name for name in leaves if name.endswith('proj')))}"
            )
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by it; a float is fine
            lora_dropout=self.dropout,
            use_rslora=self.rank_stabilised,
            target_modules=list(MODULES[self.modules]),
            bias="none",
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft asks
            torch.manual_seed(seed)
            wrapped = get_peft_model(network, config)
        wrapped.peft_config["default"].base_model_name_or_path = base_name
        return wrapped
