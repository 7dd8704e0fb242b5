"""Adapters of any kind that peft loads: what one changes, whether it fits a base, and the base with it merged.

An adapter fits where the parts that peft would lay over the base have the names and shapes of those in its file: peft
itself leaves parts that it does not find at their beginning, and says nothing.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spillover.models.adapter_sources import ADAPTER_CONFIG, ADAPTER_WEIGHTS, expect_adapter
from spillover.models.foreign_readers import first_line
from spillover.models.pretrained import outline_from
from spillover.models.weight_headers import TensorShape, TensorShapes, tensor_shapes

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Held = Literal["lora", "adapter"]  # LoRA of linear layers and nothing else; whatever else peft has
# What makes a LoRA more than its two matrices a layer.
_MORE = (
    *("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "layer_replication", "use_qalora"),
    "target_parameters",  # of all experts at once
)
_UNMERGED = "cannot be merged into weights: adapters of this kind are not studied here"


def adapter_config(folder: Path) -> dict[str, Any]:
    """What an adapter's configuration says; ValueError where it says nothing."""
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / ADAPTER_CONFIG} is not JSON: {first_line(error)}") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise ValueError(f"{folder / ADAPTER_CONFIG} names no peft_type: it is not an adapter's configuration")
    return config


def held_by(folder: Path) -> Held:
    """What an adapter's file holds: plain `lora`, two matrices for each linear layer, or more."""
    config = adapter_config(folder)
    plain = config["peft_type"] == "LORA" and config.get("bias", "none") == "none"
    own_start = isinstance(start := config.get("init_lora_weights"), str) and start not in ("gaussian", "orthogonal")
    if not plain or own_start or any(config.get(name) for name in _MORE):
        return "adapter"
    names = tensor_shapes(folder / ADAPTER_WEIGHTS)
    return "lora" if all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names) else "adapter"


def expect_adapter_fits(base: Path, folder: Path, base_name: str) -> None:
    """ValueError where the adapter in `folder` is not one of the base in the folder `base`, or cannot be merged."""
    expect_adapter(folder)
    config = adapter_config(folder)
    for name in ("alora_invocation_tokens", "layer_replication"):
        if config.get(name):
            raise ValueError(f"the adapter in {folder} has {name}, and {_UNMERGED}")
    present = tensor_shapes(folder / ADAPTER_WEIGHTS)
    network = outline_from(base)
    _fit_vocabulary(network, folder)
    try:
        expected, embeddings = _expected(network, folder)
    except Exception as error:  # peft raises many kinds for what does not fit
        raise ValueError(
            f"the adapter in {folder} cannot be laid over {base_name}: {first_line(error)[:300]}; give the base that "
            f"it was trained on{_trained_on(config)}"
        ) from None
    wrong = _unlike(expected | {name: shape for name, shape in embeddings.items() if name in present}, present)
    if wrong:
        raise ValueError(
            f"the adapter in {folder} does not fit {base_name}: {'; '.join(wrong[:3])}"
            f"{f'; and {len(wrong) - 3} more' if len(wrong) > 3 else ''}; give the base that it was trained on"
            f"{_trained_on(config)}"
        )


def expect_weights_fit(base: Path, folder: Path, base_name: str) -> None:
    """ValueError where the whole weights in `folder` have other names or shapes than the base's; vocabularies may
    differ in size."""
    left, right = outline_from(base), outline_from(folder)
    if type(left) is not type(right):
        raise ValueError(
            f"the weights in {folder} are a {type(right).__name__}, {base_name} is a {type(left).__name__}: give the "
            f"base that they were trained from"
        )
    rows = {id(layer.weight) for net in (left, right) for layer in _vocabulary_layers(net)}
    expected, present = (
        {
            name: tuple(weight.shape)[id(weight) in rows :]  # less the rows of a vocabulary
            for name, weight in network.named_parameters()
        }
        for network in (left, right)
    )
    if wrong := _unlike(expected, present):
        raise ValueError(
            f"the weights in {folder} are not a fine-tuned {base_name}: {'; '.join(wrong[:3])}"
            f"{f'; and {len(wrong) - 3} more' if len(wrong) > 3 else ''}; give the base that they were trained from"
        )


def with_adapter(network: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The network with the adapter in `folder` merged into its weights; the network given is used up."""
    from peft import PeftModel

    _fit_vocabulary(network, folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tie", UserWarning)  # `_untie` sees to it
        wrapped = PeftModel.from_pretrained(network, folder, torch_device="cpu")
        _untie(wrapped)
        merged: PreTrainedModel = wrapped.merge_and_unload()
    return merged


def _expected(network: PreTrainedModel, folder: Path) -> tuple[dict[str, TensorShape], dict[str, TensorShape]]:
    """Names and shapes of what peft saves of this adapter over this network, and of embeddings that it may save too."""
    from peft import PeftConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict

    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning or config.peft_type in ("ADAPTION_PROMPT", "POLY", "XLORA"):
        raise ValueError(f"{config.peft_type.value} {_UNMERGED}")
    if isinstance(getattr(config, "init_lora_weights", None), str):
        config.init_lora_weights = False  # a start that is computed from weights, of which there are none here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(network, config, autocast_adapter_dtype=False, low_cpu_mem_usage=True)
        least, most = (
            {name: tuple(tensor.shape) for name, tensor in state.items()}
            for state in (get_peft_model_state_dict(wrapped, save_embedding_layers=how) for how in (False, True))
        )
    return least, {name: shape for name, shape in most.items() if name not in least}


def _fit_vocabulary(network: PreTrainedModel, folder: Path) -> None:
    """Give the network as many embeddings as the adapter was trained with; those that are new are 0 until loaded."""
    rows, before = vocabulary_rows(network, folder), network.get_input_embeddings().weight.shape[0]
    if rows == before:
        return
    network.resize_token_embeddings(rows, mean_resizing=False)
    for layer in _vocabulary_layers(network):
        layer.weight.data[before:] = 0.0


def vocabulary_rows(network: PreTrainedModel, folder: Path) -> int:
    """How many tokens the network has embeddings for once the adapter is there."""
    layer = network.get_input_embeddings()
    name = next(name for name, module in network.named_modules() if module is layer)
    shapes = tensor_shapes(folder / ADAPTER_WEIGHTS)
    for ending, dimension in (("weight", 0), ("base_layer.weight", 0), ("lora_embedding_A", 1)):
        if (shape := shapes.get(f"base_model.model.{name}.{ending}")) is not None:
            return shape[dimension]
    trained = adapter_config(folder).get("trainable_token_indices")
    lists = trained.values() if isinstance(trained, dict) else [trained or []]
    largest = max((int(index) for indices in lists for index in indices), default=-1)
    return int(max(layer.weight.shape[0], largest + 1))


def _vocabulary_layers(network: PreTrainedModel) -> list[Any]:
    layers = [network.get_input_embeddings(), network.get_output_embeddings()]
    return [layer for layer in layers if layer is not None]


def _untie(wrapped: PeftModel) -> None:
    """Where parts share a weight (embeddings and head, blocks that are used twice) and one of them is tuned, give each
    its own: merging the change of one would change the others, too."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    modules = [*wrapped.get_base_model().modules()]
    tuned = [module.get_base_layer() for module in modules if isinstance(module, BaseTunerLayer)]
    weights = {id(weight) for layer in tuned if (weight := getattr(layer, "weight", None)) is not None}
    taken: set[int] = set()
    for module in dict.fromkeys([*tuned, *modules]):
        own = None if isinstance(module, BaseTunerLayer) else module._parameters.get("weight")
        if own is None or id(own) not in weights:
            continue
        if id(own) in taken:
            module.weight = torch.nn.Parameter(own.detach().clone(), requires_grad=False)
        taken.add(id(own))


def _unlike(expected: TensorShapes, present: TensorShapes) -> list[str]:
    """What differs between the parts of a base and those that came, in words."""
    wrong = [
        f"{name} is {present[name]}, for this base {expected[name]}"
        for name in sorted(expected.keys() & present.keys())
        if present[name] != expected[name]
    ]
    wrong += [f"{name} is not part of this base" for name in sorted(present.keys() - expected.keys())]
    return wrong + [f"{name} is missing" for name in sorted(expected.keys() - present.keys())]


def _trained_on(config: Mapping[str, Any]) -> str:
    named = config.get("base_model_name_or_path")
    return f" (its configuration names {named})" if named else ""
