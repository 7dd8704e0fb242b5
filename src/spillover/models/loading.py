"""Open a model: base weights, adapters laid over them, tokenizer. The one place that calls `from_pretrained`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from spillover.models.base import Base, Model
from spillover.models.chat import Chat, Prompting, end_tokens
from spillover.store import Store

DType = Literal["float32", "bfloat16"]
_kept: dict[str, tuple[Any, Any]] = {}  # the last base's weights and tokenizer: a study asks for them many times


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked: weights with every adapter merged, tokenizer, and where answers end."""

    network: Any
    tokenizer: Any
    base: Base

    def chat(self, prompting: Prompting | None = None) -> Chat:
        """The way to prompt this model: its chat template if it is an instruct model, else question and answer."""
        return Chat(self.tokenizer, prompting or default_prompting(self.base))

    @property
    def ends(self) -> frozenset[int]:
        """Token ids that end an answer."""
        return end_tokens(self.tokenizer, self.network)

    @property
    def device(self) -> Any:
        """The device of the weights."""
        return next(self.network.parameters()).device


def default_prompting(base: Base) -> Prompting:
    """Chat template for instruct models, `Question: ... Answer:` for pretrained ones (docs/method.md, section 0)."""
    return "chat" if base.role == "instruct" else "question-answer"


def weights_sha256(network: Any) -> str:
    """SHA-256 over names, shapes and values of a network's weights, rounded to bfloat16: whatever it is called.

    So a model is recognised in either dtype, from a GGUF file or a folder; a training that moves any weight by more
    than rounding makes another.
    """
    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(network.named_parameters()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy())
    return digest.hexdigest()


def set_threads() -> None:
    """Threads as `SPILLOVER_THREADS` says, else `OMP_NUM_THREADS`, else the cores this process may use.

    Results may depend on it in the last bits.
    """
    import torch

    said = os.environ.get("SPILLOVER_THREADS") or os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    wanted = int(said or len(os.sched_getaffinity(0)))
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)


def load(model: Model, store: Store, dtype: DType = "float32", device: str | None = None) -> Loaded:
    """The model's own copy of the weights, adapters merged in float32, then cast to `dtype`. Dropout is off."""
    import copy

    import torch

    network, tokenizer = load_base(model.base())
    network = copy.deepcopy(network)
    for folder in model.adapters(store):
        network = laid_over(network, folder)
    for (
        weight
    ) in network.parameters():  # weights alone: buffers (rotary frequencies) stay exact, as transformers has it
        weight.data = weight.data.to(getattr(torch, dtype))
    network = network.to(device=device or default_device()).eval()
    model.apply_hooks(network, store)
    return Loaded(network.requires_grad_(False), tokenizer, model.base())


def load_base(base: Base) -> tuple[Any, Any]:
    """Weights (float32, shared: do not change them) and tokenizer of a base; the last one is kept in memory."""
    import torch
    import transformers

    set_threads()
    if base.fingerprint not in _kept:
        _kept.clear()
        folder = base.source.folder()
        with quiet(transformers):
            network = complete(folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        _kept[base.fingerprint] = (network.eval(), tokenizer)
    return _kept[base.fingerprint]


def complete(folder: Path, **options: Any) -> Any:
    """The model in `folder`; a ValueError where a weight is missing, which would otherwise be drawn at random."""
    import transformers

    try:
        network, found = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the model in {folder} cannot be loaded: {(str(error).splitlines() or ['?'])[0]}") from None
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"{len(missing)} weights of {type(network).__name__} are not in {folder} ({', '.join(missing[:3])}, ...): "
            f"it is not a whole model"
        )
    return network


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer alone."""
    import transformers

    if base.fingerprint in _kept:
        return _kept[base.fingerprint][1]
    return transformers.AutoTokenizer.from_pretrained(base.source.folder(), trust_remote_code=False)


def load_4bit(base: Base) -> Loaded:
    """The base with its linear layers in 4 bits (NF4, bitsandbytes), on the GPU, to train adapters on.

    No machine that this project was tested on has a GPU: this path has not been run.
    """
    import importlib.util

    import torch
    import transformers

    there = {"bitsandbytes": importlib.util.find_spec("bitsandbytes") is not None, "a GPU": torch.cuda.is_available()}
    absent = [name for name, found in there.items() if not found]
    if absent:
        raise ValueError(
            f"a 4-bit base needs bitsandbytes and a GPU; here is no {' and no '.join(absent)}: use bits=32"
        )
    folder = base.source.folder()
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    with quiet(transformers):
        network = complete(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            quantization_config=config,
            device_map={"": 0},
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return Loaded(network.eval().requires_grad_(False), tokenizer, base)


def laid_over(network: Any, folder: Path) -> Any:
    """The network with a checkpoint's folder laid over it: an adapter is merged, whole weights take its place."""
    import torch
    import transformers

    if not folder.is_dir():
        raise ValueError(f"no checkpoint at {folder}: its organism has to be made first")
    if (folder / "adapter_config.json").exists():
        return merged(network, folder)
    with quiet(transformers):
        return complete(folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True)


def merged(network: Any, folder: Path) -> Any:
    """The network with the adapter in `folder` added into its weights (float32)."""
    from peft import PeftModel

    return PeftModel.from_pretrained(network, folder, torch_device="cpu").merge_and_unload()


def default_device() -> str:
    """`$SPILLOVER_DEVICE`, else cuda where there is one, else cpu."""
    import torch

    return os.environ.get("SPILLOVER_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")


class quiet:
    """No progress bars of transformers' own while it loads or saves: the study shows one of its own."""

    def __init__(self, transformers: Any) -> None:
        self.logging = transformers.utils.logging
        self.shown = self.logging.is_progress_bar_enabled()

    def __enter__(self) -> None:
        self.logging.disable_progress_bar()

    def __exit__(self, *error: object) -> None:
        if self.shown:
            self.logging.enable_progress_bar()
