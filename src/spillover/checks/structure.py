"""Checks of a network's structure: layers and sites, what LoRA hits, in what its weights are kept. No weight is read.

Each takes the subject and returns what there is in a line; a ValueError says what is wrong and what to do.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from spillover.checks.subject import Subject
from spillover.models.device import default_device
from spillover.models.precision import native_precision
from spillover.models.pretrained import outline_from, stored_dtype
from spillover.organisms.tuning import LoRA

Variant = Literal["all", "attention", "attention-kv", "mlp", "mlp-down"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


def layers(subject: Subject) -> str:
    """Layers, width, heads and parameters, as the configuration has them."""
    config = subject.empty.config.get_text_config()
    if not isinstance(count := getattr(config, "num_hidden_layers", None), int) or count < 1:
        raise ValueError(f"the configuration of {type(subject.empty).__name__} does not say how many layers there are")
    heads = getattr(config, "num_attention_heads", None)
    keys = getattr(config, "num_key_value_heads", None) or heads
    parameters = sum(weight.numel() for weight in subject.empty.parameters())
    attention = f", {heads} heads ({keys} of keys and values)" if heads else ""
    return (
        f"{type(subject.empty).__name__}: {count} layers, width {config.hidden_size}{attention}, "
        f"{parameters / 1e6:,.1f}M parameters; sites resid_pre.00 to resid_post.{count - 1:02d}"
    )


def lora(subject: Subject, variant: Variant) -> str:
    """Which modules a variant of LoRA sits on, and how many numbers are trained at the default rank."""
    tuning = LoRA(modules=variant)
    try:
        network = tuning.trainable_network(outline_from(subject.folder), 0, "")
    except ValueError as error:
        if variant != "all":
            return f"not for this model: {error}"
        raise
    sizes = {name: weight.numel() for name, weight in network.named_parameters() if weight.requires_grad}
    names = [name.partition(".lora_")[0].rpartition(".")[2] for name in sizes if ".lora_A." in name]
    hit = ", ".join(f"{name} x {times}" for name, times in sorted(Counter(names).items()))
    return f"{hit}: {sum(sizes.values()):,} numbers at rank {tuning.rank}"


def precision(subject: Subject) -> str:
    """In which numbers the weights are stored, and in which `auto` computes here, and why."""
    stored, device = stored_dtype(subject.folder), default_device()
    native = native_precision(device)
    why = f"{device} multiplies bfloat16 {'by' if native == 'bfloat16' else 'without'} instructions of its own"
    return f"stored in {stored or 'several dtypes'}; auto computes in {native}, for {why}; the checks below in float32"
