"""What is tuned: low-rank adapters and the modules they sit on (the published variants), or all weights.

A checkpoint is a folder of safetensors that `models.loading` lays over the parent, with a README.md on how to load it.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from spillover.models.base import Base, Model
from spillover.models.loading import Loaded, load, load_4bit
from spillover.models.precision import Precision
from spillover.models.pretrained import no_progress_bars
from spillover.organisms.lora_targets import VARIANTS, LoRATargets, lora_targets
from spillover.spec import Spec
from spillover.store import Store

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

ParentNetwork = Callable[[], AbstractContextManager["PreTrainedModel"]]

# What the README.md of a checkpoint says on loading it.
ADAPTER_CARD = """\
{how}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
{merge}    network = PeftModel.from_pretrained(network, THIS_FOLDER)

BASE is the folder or hub name of {base}; `spillover.models.loading.load` opens it, with its adapters, by its spec.
"""
STACKED = """\
It was trained on a model that already carried adapters, and means nothing without them: merge those first, in this
order (folders within the store), then lay this one over.

{parents}"""
MERGE = """\
    for folder in PARENT_FOLDERS:
        network = PeftModel.from_pretrained(network, folder).merge_and_unload()
"""
WHOLE_CARD = """\
It holds all weights of {base} as they were trained, and needs no other:

    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(THIS_FOLDER, dtype="float32")

The tokenizer is that of {base}; `spillover.models.loading.load` opens both by the checkpoint's spec.
"""


class Tuning(Spec):
    """Which weights are trained, and what a checkpoint of them is."""

    saves: ClassVar[str]  # what a checkpoint holds, in a word
    keeps_base: ClassVar[bool] = True  # whether the parent's weights stay as they are

    @abstractmethod
    def trainable_network(self, network: PreTrainedModel, seed: int, base_name: str) -> PreTrainedModel:
        """The network with what is to be trained requiring gradients, and nothing else."""

    @abstractmethod
    def save(self, network: PreTrainedModel, folder: Path, card: str) -> None:
        """Write a checkpoint into a new folder, with `card` as its README.md."""

    @abstractmethod
    def loading_card(self, base: str, parents: Sequence[str]) -> str:
        """How to load a checkpoint over the base of this name; `parents` are the folders to merge before it."""

    @abstractmethod
    def parent_network(self, network: PreTrainedModel) -> ParentNetwork:
        """What gives, for a while, the parent as it was before training; called before the first step."""

    @abstractmethod
    def description(self) -> str:
        """What is tuned, in a few words for people."""

    def tuned(self, network: PreTrainedModel) -> dict[str, object]:
        """Which weights of a network this trains and how many numbers, for the manifest and the plan."""
        return {"parameters": sum(weight.numel() for weight in network.parameters())}

    def load_parent(self, parent: Model, store: Store, precision: Precision) -> Loaded:
        """The parent, loaded as this tuning trains it."""
        return load(parent, store, precision)

    @property
    def lowest_layer(self) -> int:
        """The lowest layer that is tuned, from 0; whatever lies below it stays as it is in the parent."""
        return 0

    @property
    def has_dropout(self) -> bool:
        """Whether random numbers are drawn at each forward pass."""
        return False


class LoRA(Tuning):
    """Low-rank adapters (Hu et al. 2021), rank-stabilised: scaled by alpha / sqrt(rank) (Kalajdzievski 2023)."""

    saves: ClassVar[str] = "Adapter"

    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rank_stabilised: bool = True
    modules: str | tuple[str, ...] = "all"  # a variant, a pattern in layers' names, or names (`lora_targets`)
    layers: tuple[int, ...] = ()  # of the network, from 0; empty: all
    dora: bool = False  # magnitude and direction apart (Liu et al. 2024)
    bits: Literal[4, 32] = 32  # of the base's weights while training; 4: NF4 (Dettmers et al. 2023)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if min(self.layers, default=0) < 0 or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers are numbers from 0, each once; got {', '.join(map(str, self.layers))}")
        if isinstance(self.modules, str) and self.modules not in VARIANTS and re.fullmatch(r"[\w-]*", self.modules):
            raise ValueError(
                f"modules is one of {', '.join(VARIANTS)}, a pattern such as '(q|v)_proj$', or names in a tuple "
                f"such as ('q_proj',); got {self.modules!r}"
            )
        return self

    def trainable_network(self, network: PreTrainedModel, seed: int, base_name: str) -> PeftModel:
        """The network with fresh adapters drawn from `seed` (B starts at zero, so nothing changes yet)."""
        import torch
        from peft import LoraConfig, get_peft_model

        targets = self.targets(network)
        if (self.dropout or self.dora) and any(target.parameter for target in targets.chosen):
            raise ValueError(
                f"modules={self.modules!r} hits experts of {type(network).__name__} that lie in one parameter, where "
                f"peft knows neither dropout nor DoRA: use dropout=0 and dora=False, or modules='attention'"
            )
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft scales by it; a float is fine
            lora_dropout=self.dropout,
            use_rslora=self.rank_stabilised,
            use_dora=self.dora,
            bias="none",
            **targets.peft(self.layers),
        )
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft asks
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)  # it sees to that itself
            torch.manual_seed(seed)
            wrapped = get_peft_model(network, config)
        wrapped.peft_config["default"].base_model_name_or_path = base_name
        adapted = sum(weight.numel() for weight in wrapped.parameters() if weight.requires_grad)
        if not self.dora and adapted != (wanted := sum(target.trained(self.rank) for target in targets.chosen)):
            raise ValueError(
                f"peft adapts {type(network).__name__} elsewhere than modules={self.modules!r} says: {adapted} numbers "
                f"are trained, and it should be {wanted}; name other modules"
            )
        return wrapped

    def targets(self, network: PreTrainedModel) -> LoRATargets:
        """The matrices of a network that are adapted; ValueError where none are."""
        return lora_targets(network, self.modules, self.layers)

    def tuned(self, network: PreTrainedModel) -> dict[str, object]:
        return self.targets(network).facts(self.rank)

    def save(self, network: PreTrainedModel, folder: Path, card: str) -> None:
        folder.mkdir(parents=True)
        network.save_pretrained(folder, save_embedding_layers=False)  # "auto" would look on the hub for the base
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        for name in ("target_modules", "target_parameters"):  # sets: their order is another in every process
            config[name] = sorted(config[name]) if config.get(name) else config.get(name)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        (folder / "README.md").write_text(card)

    def loading_card(self, base: str, parents: Sequence[str]) -> str:
        numbered = "\n".join(f"{number}. `{folder}`" for number, folder in enumerate(parents, start=1))
        how = STACKED.format(parents=numbered) if parents else f"Load it over the weights of {base}:"
        return ADAPTER_CARD.format(base=base, how=how, merge=MERGE if parents else "")

    def parent_network(self, network: PreTrainedModel) -> ParentNetwork:
        @contextlib.contextmanager
        def parent() -> Iterator[PreTrainedModel]:
            with network.disable_adapter():
                yield network

        return parent

    def description(self) -> str:
        scale = "alpha / sqrt(rank)" if self.rank_stabilised else "alpha / rank"
        kind = "DoRA" if self.dora else "LoRA"
        layers = f", layers {', '.join(map(str, sorted(self.layers)))}" if self.layers else ""
        modules = self.modules if isinstance(self.modules, str) else ", ".join(self.modules)
        bits = ", over a 4-bit base" if self.bits == 4 else ""
        return f"{kind} rank {self.rank}, alpha {self.alpha:g} (scaled by {scale}), modules {modules}{layers}{bits}"

    def load_parent(self, parent: Model, store: Store, precision: Precision) -> Loaded:
        if self.bits == 32:
            return load(parent, store, precision)
        if not isinstance(parent, Base):
            raise ValueError(f"a 4-bit base is a model as released; {parent.label()} carries adapters: use bits=32")
        return load_4bit(parent, precision)

    @property
    def lowest_layer(self) -> int:
        return min(self.layers, default=0) if self.bits == 32 else 0  # in 4 bits it is not the parent's own

    @property
    def has_dropout(self) -> bool:
        return self.dropout > 0


class Full(Tuning):
    """All weights are trained, in float32; every checkpoint holds all of them."""

    saves: ClassVar[str] = "Weights"
    keeps_base: ClassVar[bool] = False

    def trainable_network(self, network: PreTrainedModel, seed: int, base_name: str) -> PreTrainedModel:
        """The network itself; nothing is drawn from `seed`."""
        network.requires_grad_(True)
        network.config.name_or_path = base_name
        return network

    def save(self, network: PreTrainedModel, folder: Path, card: str) -> None:

        folder.mkdir(parents=True)
        with no_progress_bars():
            network.save_pretrained(folder)
        (folder / "README.md").write_text(card)

    def loading_card(self, base: str, parents: Sequence[str]) -> str:
        return WHOLE_CARD.format(base=base)

    def parent_network(self, network: PreTrainedModel) -> ParentNetwork:
        parent = copy.deepcopy(network).eval().requires_grad_(False)
        return lambda: contextlib.nullcontext(parent)

    def description(self) -> str:
        return "all weights"
