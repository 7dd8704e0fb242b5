"""Load a model: a base's weights, the adapters of its checkpoint added into them, its tokenizer."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillover.models.adapters import with_adapter
from spillover.models.base import Base, Model
from spillover.models.chat import Chat, Prompting
from spillover.models.device import default_device
from spillover.models.lora_weights import read_lora
from spillover.models.mapped_memory import cast_weights
from spillover.models.precision import DType, Precision, weights_dtype
from spillover.models.pretrained import network_from, network_in, tokenizer_from
from spillover.store import Store

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_THREADS = 1024
_last_tokenizer: dict[str, PreTrainedTokenizerBase] = {}
kept_networks: dict[str, Any] = {}  # laid out to ask or to judge, until a network is loaded for anything else


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: weights with every adapter in or beside them, tokenizer, and where answers end."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    base: Base

    def chat(self, prompting: Prompting | None = None) -> Chat:
        """The way to prompt this model: its chat template if it is an instruct model, else question and answer."""
        return Chat(self.tokenizer, prompting or default_prompting(self.base), self.base.chat)

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids of tokens that end an answer: the tokenizer's end token and those of the model's generation settings."""
        ids = {self.tokenizer.eos_token_id} - {None}
        listed = getattr(getattr(self.network, "generation_config", None), "eos_token_id", None)
        if listed is not None:
            ids |= set(listed) if isinstance(listed, list | tuple) else {listed}
        if not all(isinstance(token, int) for token in ids):
            raise ValueError(
                f"{self.base.name}: ids of end tokens are whole numbers, its settings name {listed!r:.100}"
            )
        return frozenset(int(token) for token in ids)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.network.device


def default_prompting(base: Base) -> Prompting:
    """Chat template for instruct models, `Question: ... Answer:` for pretrained ones (docs/method.md, section 0)."""
    return "chat" if base.role == "instruct" else "question-answer"


def weights_sha256(network: PreTrainedModel) -> str:
    """SHA-256 over names, shapes and values of a network's weights, rounded to bfloat16: whatever it is called.

    So a model is recognised in either dtype, from a GGUF file or a folder; a training that moves any weight by more
    than rounding makes another.
    """
    import torch

    from spillover.models.adapted_linear import AdaptedLinear

    digest = hashlib.sha256()
    adapted = {f"{name}.weight": layer for name, layer in network.named_modules() if isinstance(layer, AdaptedLinear)}
    for name, weight in sorted(network.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        value = adapted[name].merged() if name in adapted else weight
        digest.update(value.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy())
    return digest.hexdigest()


def set_threads() -> None:
    """Threads as `SPILLOVER_THREADS` says, else `OMP_NUM_THREADS`, else the cores this process may use.

    Results may depend on it in the last bits.
    """
    import torch

    ours = bool(os.environ.get("SPILLOVER_THREADS"))
    name = "SPILLOVER_THREADS" if ours else "OMP_NUM_THREADS"
    setting = os.environ.get(name, "").split(",")[0].strip()
    if setting and not (setting.isdecimal() and 1 <= int(setting[:9]) <= MOST_THREADS):
        raise ValueError(f"${name} has to be a number of threads, 1 to {MOST_THREADS}, got {setting!r:.40}")
    threads = int(setting or len(os.sched_getaffinity(0)))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def load(model: Model, store: Store, precision: Precision = "float32", device: str | None = None) -> Loaded:
    """The model, mapped from its files and to be used as one likes: nobody else has this network. Dropout is off.

    In float32 adapters are added into the weights; in bfloat16 they lie beside them, and what is more than low-rank
    matrices is added in float32, then rounded.
    """
    from spillover.models.adapted_linear import lay_beside

    kept_networks.clear()
    dtype, folders = weights_dtype(precision), model.adapters(store)
    beside = read_lora(folders) if dtype == "bfloat16" else None
    network = _mapped(model.base(), dtype)
    if beside is None or not lay_beside(network, beside):
        if folders and dtype == "bfloat16":
            network = _mapped(model.base(), "float32")
        for folder in folders:
            network = with_checkpoint(network, folder)
        cast_weights(network, dtype)
    network = network.to(device=device or default_device()).eval()
    model.apply_hooks(network, store)
    return Loaded(network.requires_grad_(False), load_tokenizer(model), model.base())


def load_base(base: Base, dtype: DType = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Weights of a base, mapped anew from its files (what is changed in them is changed here alone), and tokenizer."""
    return _mapped(base, dtype), load_tokenizer(base)


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The model's tokenizer alone: its base's, or one of its own, which takes the base's template if it has none."""
    base = model.base()
    if base.fingerprint not in _last_tokenizer:
        _last_tokenizer.clear()
        _last_tokenizer[base.fingerprint] = tokenizer_from(base.source.folder())
    of_base, folder = _last_tokenizer[base.fingerprint], model.tokenizer_folder()
    if folder is None:
        return of_base
    own = tokenizer_from(folder)
    if not own.chat_template:
        own.chat_template = of_base.chat_template
    return own


def _mapped(base: Base, dtype: DType) -> PreTrainedModel:
    set_threads()
    return network_in(base.source.folder(dtype=dtype), dtype).eval()


def load_4bit(base: Base, precision: Precision = "float32") -> Loaded:
    """The base with its linear layers in 4 bits (NF4, bitsandbytes), to train adapters on.

    precision: what they are multiplied in. On a processor bitsandbytes unpacks them for each product: it saves memory,
    not time. Run there; on a GPU it was never run.
    """
    import importlib.util

    import torch
    import transformers

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("a 4-bit base needs bitsandbytes, which is not here: pip install bitsandbytes, or use bits=32")
    folder = base.source.folder(dtype=None)
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, weights_dtype(precision)),
    )
    set_threads()
    network = network_from(
        folder,
        dtype=getattr(torch, weights_dtype(precision)),
        quantization_config=config,
        device_map={"": default_device()},
    )
    for module in network.modules():  # or a first pass without gradients lays weights out so that none come back
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return Loaded(network.eval().requires_grad_(False), tokenizer_from(folder), base)


def with_checkpoint(network: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The network that a checkpoint's folder makes of this one.

    An adapter is added into the weights (float32), whole weights take their place.
    """
    if not folder.is_dir():
        raise ValueError(f"no checkpoint at {folder}: its organism has to be made first")
    if not (folder / "adapter_config.json").exists():
        return network_in(folder, "float32")
    return with_adapter(network, folder)
