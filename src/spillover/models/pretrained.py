"""Networks and tokenizers from a folder: the one place that calls transformers' `from_pretrained`.

Weights are safetensors or GGUF, never pickle; code that comes with a model is never run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillover.models.foreign_readers import told_as
from spillover.models.mapped_memory import cast_weights
from spillover.models.model_folder import CONFIG, expect_size, expect_sound_model
from spillover.models.precision import DType
from spillover.models.tokenizer_trial import try_tokenizer

STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # as safetensors' headers name them

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def network_from(folder: Path, **options: Any) -> PreTrainedModel:
    """The float32 network in `folder`; `options` go to transformers.

    ValueError where it cannot be loaded, or where a weight is missing, which would otherwise be drawn at random.
    """
    import torch

    if "gguf_file" not in options:
        _expect_sized(folder)
    options = {"dtype": torch.float32, "use_safetensors": True} | options
    with told_as(f"the model in {folder} cannot be loaded"), no_progress_bars():
        network, loading = _auto_class(folder).from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False, **options
        )
    if unlike := sorted(map(str, loading["mismatched_keys"])):
        raise ValueError(
            f"{len(unlike)} weights in {folder} have other shapes than its configuration says (name, shape, shape by "
            f"the configuration): {', '.join(unlike[:3])}"
        )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(
            f"{len(missing)} weights of {type(network).__name__} are not in {folder} ({', '.join(missing[:3])}, ...): "
            f"it is not a whole model"
        )
    if getattr(network.config, "rescale_every", 0):  # rwkv: for float16; it would write into weights at each train()
        network.config.rescale_every = 0
    loaded: PreTrainedModel = network
    return loaded


def outline_from(folder: Path) -> PreTrainedModel:
    """The network in `folder` without its weights (on torch's meta device): what parts it has, and of which sizes.

    ValueError where its configuration is not one that transformers knows, or not that of its weights.
    """
    import torch
    import transformers

    expect_sound_model(folder)
    with told_as(f"the model in {folder} cannot be read"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            network: PreTrainedModel = _auto_class(folder).from_config(config, trust_remote_code=False)
    expect_size(folder, *(sum(part.numel() for part in parts) for parts in (network.parameters(), network.buffers())))
    return network


_sized: dict[Path, tuple[tuple[int, int], ...]] = {}  # folders whose configuration was held against their weights


def _expect_sized(folder: Path) -> None:
    """`outline_from` once a folder, as long as its configuration and its files of weights are the same."""
    expect_sound_model(folder)
    files = [folder / CONFIG, *sorted(folder.glob("*.safetensors"))]
    stats = tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    if _sized.get(folder) != stats:
        outline_from(folder)
        _sized[folder] = stats


def _auto_class(folder: Path) -> Any:
    """What opens the model in `folder`: a text model, or one that sees pictures too, whose text is asked for alone."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if not (folder / "config.json").exists():
        return transformers.AutoModelForCausalLM
    kind = type(transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False))
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def network_in(folder: Path, dtype: DType) -> PreTrainedModel:
    """The network in `folder` in this dtype: its weights are mapped where the files have it, else cast one by one."""
    stored = stored_dtype(folder)
    network = network_from(folder, dtype=stored or dtype)
    cast_weights(network, dtype)
    return network


def stored_dtype(folder: Path) -> str | None:
    """The one dtype of all weights in a folder's safetensors, as torch names it; None where they have several."""
    from safetensors import SafetensorError, safe_open

    types = set()
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
            types |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return STORED.get(types.pop()) if len(types) == 1 else None


def tokenizer_from(folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`; `options` go to transformers. ValueError where there is none that can be read."""
    import transformers

    with told_as(f"the tokenizer in {folder} cannot be read"), no_progress_bars():
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, **options
        )
    beside = folder / "chat_template.json"  # where models that see pictures, too, have it
    if not tokenizer.chat_template and beside.is_file():
        with contextlib.suppress(ValueError, AttributeError):
            tokenizer.chat_template = json.loads(beside.read_text(encoding="utf-8")).get("chat_template")
    try_tokenizer(tokenizer, folder)
    return tokenizer


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """No bars of transformers' own while it loads or saves: the study shows one of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
