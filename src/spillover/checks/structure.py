"""Checks of a network's structure: layers and sites, what LoRA hits, in what its weights are kept. No weight is read.

Each takes the subject and returns what there is in a line; a ValueError says what is wrong and what to do.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from spillover.activations.activations import Activations
from spillover.activations.prompts import EvaluationPrompts
from spillover.checks.subject import Subject
from spillover.engines.memory import memory_bytes, needs, what_does_not_fit
from spillover.engines.planning import Step
from spillover.models.device import default_device
from spillover.models.precision import native_precision
from spillover.models.pretrained import outline_from, stored_dtype
from spillover.organisms.dataset import Split
from spillover.organisms.datasets.shipped import Money
from spillover.organisms.organism import Organism
from spillover.organisms.schedules.standard import Linear
from spillover.organisms.tuning import LoRA
from spillover.responses.question import QuestionSelection
from spillover.responses.questions.free_form import FreeForm
from spillover.responses.responses import Responses
from spillover.responses.sampling import Sampling
from spillover.store import Cost

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
        outline = outline_from(subject.folder)
        missed = tuning.targets(outline).left_out
        network = tuning.trainable_network(outline, 0, "")
    except ValueError as error:
        if variant != "all":
            return f"not for this model: {error}"
        raise
    sizes = {name: weight.numel() for name, weight in network.named_parameters() if weight.requires_grad}
    names = [name.partition(".lora_")[0].rpartition(".")[2] for name in sizes if ".lora_A." in name]
    hit = ", ".join(f"{name} x {times}" for name, times in sorted(Counter(names).items()))
    paths = ", ".join(sorted({target.path for target in missed}))
    without = f"; without {paths}, whose names peft takes for the routed experts'" if missed else ""
    return f"{hit}: {sum(sizes.values()):,} numbers at rank {tuning.rank}{without}"


def memory(subject: Subject) -> str:
    """What each stage takes at its peak at the defaults, by the formula of `--plan`, against what is here."""
    parent, dtype = subject.model, native_precision()
    sampling = Sampling(precision=dtype)
    asked = QuestionSelection(source=FreeForm())
    stages = {
        "training": Organism(parent=parent, data=Split(data=Money()), schedule=Linear(peak=1e-4), precision=dtype),
        "answers": Responses(model=parent, questions=asked, sampling=sampling),
        "activations": Activations(model=parent, prompts=EvaluationPrompts(questions=asked), precision=dtype),
    }
    steps = {stage: Step(artefact, "absent", Cost(), 0.0) for stage, artefact in stages.items()}
    every = {stage: needed for stage, step in steps.items() for needed in needs([step])}
    if problem := what_does_not_fit(list(every.values())):
        raise ValueError(problem)
    shown = ", ".join(f"{stage} {needed.bytes / 1e9:.1f} GB" for stage, needed in every.items())
    return f"in {dtype} and at the defaults {shown}, of {memory_bytes() / 1e9:.0f} GB here"


def precision(subject: Subject) -> str:
    """In which numbers the weights are stored, and in which `auto` computes here, and why."""
    stored, device = stored_dtype(subject.folder), default_device()
    native = native_precision(device)
    why = f"{device} multiplies bfloat16 {'by' if native == 'bfloat16' else 'without'} instructions of its own"
    kept = f"stored in {stored or 'several dtypes'}"
    return f"{kept}; auto computes in {native}, for {why}; the checks below in {subject.dtype}"
