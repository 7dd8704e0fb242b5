"""How much memory making an artefact takes, and whether this machine has it: said by `--plan`, refused by `run`.

The formula is of what is there at once: libraries, weights once, what is trained with its gradients and the optimiser,
what a pass keeps, keys and values. `scripts/real_size.py` measures the peaks that it stands for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spillover.engines.planning import Step
from spillover.models.base import Base, Model
from spillover.models.device import default_device
from spillover.models.precision import weights_dtype
from spillover.spec import Spec
from spillover.store import Artefact

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIBRARIES = 0.6e9  # bytes: torch, transformers, peft and a tokenizer, in this process
TRAINED_COPIES = 4  # of a trained weight in float32: itself, its gradient, the optimiser's two means
CACHE_BYTES = 1 << 30  # most that keys and values of answers take (`responses.samplers.decoding`)
SAMPLED_ROWS = 128  # answers written at once, at most
ITEMSIZE = {"float32": 4, "bfloat16": 2}
CGROUP = Path("/sys/fs/cgroup/memory.max")


class Sizes(NamedTuple):
    """What of a model's size counts here: numbers of weights, and bytes by number."""

    parameters: int
    largest: int  # of the weights, numbers: the output head, mostly
    cached: int  # numbers that a token's keys and values take


@dataclass(frozen=True)
class Need:
    """What a step takes at its peak, bytes, and which would be the first thing to do where that is too much."""

    step: Step
    bytes: int
    helps: str


def needs(steps: Sequence[Step]) -> list[Need]:
    """What each step that runs a network takes; the weights alone where its model is not here to be looked at."""
    return [need for step in steps if step.state != "there" and (need := _need(step)) is not None]


def refuse_what_does_not_fit(steps: Sequence[Step]) -> None:
    """ValueError where a step to make takes more memory than there is, with what would help."""
    if text := what_does_not_fit(needs(steps)):
        raise ValueError(text)


def what_does_not_fit(every: Sequence[Need]) -> str | None:
    """The largest need that is more than there is here, and what would help; None where all fit."""
    if not every:
        return None
    worst, there = max(every, key=lambda need: need.bytes), memory_bytes()
    if worst.bytes <= there:
        return None
    return (
        f"{worst.step.artefact.summary()} takes about {worst.bytes / 1e9:.1f} GB of {_kind()} memory; there are "
        f"{there / 1e9:.1f} GB: {worst.helps}"
    )


def memory_bytes() -> int:
    """Memory of the device that networks run on, bytes; of this machine or, if less, what its container may have."""
    if default_device().startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(default_device()).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP.read_text().strip() if CGROUP.exists() else "max"
    return min(total, int(limit)) if limit.isdigit() else total


def _kind() -> str:
    return "GPU" if default_device().startswith("cuda") else "main"


def _need(step: Step) -> Need | None:
    from spillover.organisms.training_spec import TrainingSpec

    artefact = step.artefact
    model, precision = getattr(artefact, "parent", getattr(artefact, "model", None)), _precision(artefact)
    if not isinstance(model, Model) or precision is None:
        return None
    base, itemsize = model.base(), ITEMSIZE[weights_dtype(precision)]
    fixed = 0 if default_device().startswith("cuda") else LIBRARIES
    outline = _outline(base) if base.source.is_local() else None
    if outline is None:  # no more can be said before its weights are here
        least = fixed + (base.parameters or 0) * itemsize
        return Need(step, int(least), _helps(artefact, precision)) if base.parameters else None
    sizes = sizes_of(outline)
    need = fixed + sizes.parameters * itemsize
    if isinstance(artefact, TrainingSpec):
        need += _training_bytes(artefact, outline, sizes, itemsize)
    else:
        need += sizes.largest * itemsize + _cache_bytes(artefact, sizes, itemsize)
    return Need(step, int(need), _helps(artefact, precision))


def _precision(artefact: Artefact) -> str | None:
    """In what precision a network of this process is used for it; None where none is, or it does not say."""
    sampler: Spec | None = getattr(artefact, "sampler", None)
    elsewhere = sampler is not None and sampler.kind != "LocalSampler"
    precision: str | None = getattr(artefact, "precision", None)
    return None if elsewhere else precision


@functools.lru_cache(maxsize=8)
def _outline(base: Base) -> PreTrainedModel | None:
    """The base's network without weights; None where its configuration cannot be read so."""
    from spillover.models.pretrained import outline_from

    try:
        return outline_from(base.source.folder())
    except (OSError, ValueError, KeyError):
        return None


def sizes_of(outline: PreTrainedModel) -> Sizes:
    """The sizes of a network, with its weights or without."""
    config = outline.config.get_text_config()
    queries = getattr(config, "num_attention_heads", None) or 1  # state-space models have none: about one width
    heads = getattr(config, "num_key_value_heads", None) or queries
    width = getattr(config, "head_dim", None) or config.hidden_size // queries
    counts = [weight.numel() for weight in outline.parameters()]
    return Sizes(sum(counts), max(counts), 2 * config.num_hidden_layers * heads * width)


def _training_bytes(organism: Spec, outline: PreTrainedModel, sizes: Sizes, itemsize: int) -> float:
    """What training adds to the weights: what is trained, and what a pass keeps for the way back."""
    from spillover.organisms.chunked_loss import CHUNK
    from spillover.organisms.kept_bytes import kept_bytes, pass_tokens
    from spillover.organisms.losses import PASS_TOKENS, PASS_TOKENS_ELSEWHERE
    from spillover.organisms.training_spec import TrainingSpec

    assert isinstance(organism, TrainingSpec)
    config = outline.config.get_text_config()
    trained = organism.tuning.tuned(outline)["parameters"]
    assert isinstance(trained, int)
    computed = 4 if organism.precision == "float32" else 2
    limit = PASS_TOKENS.get(default_device(), PASS_TOKENS_ELSEWHERE)
    fitting = pass_tokens(config, computed, sizes.parameters * itemsize)
    tokens = min(limit, fitting, organism.batch * organism.max_length)
    cast = 2 * sizes.parameters if organism.precision == "autocast-bfloat16" else 0
    own = 0 if organism.tuning.keeps_base else itemsize  # what is trained is the weights themselves
    logits = CHUNK * config.vocab_size * (4 + computed)
    added: float = trained * (4 * TRAINED_COPIES - own) + tokens * kept_bytes(config, computed) + cast + logits
    return added


def _cache_bytes(artefact: Artefact, sizes: Sizes, itemsize: int) -> float:
    """Keys and values of the answers that are written or read at once."""
    from spillover.responses.sampler import PROMPT_TOKENS, AnswerSet

    asked = getattr(artefact, "answers", artefact)
    if not isinstance(asked, AnswerSet):
        return 0.0
    rows = min(SAMPLED_ROWS, -(-asked.count // 8) * 8)
    cached: float = min(CACHE_BYTES, rows * (asked.sampling.max_tokens + PROMPT_TOKENS) * sizes.cached * itemsize)
    return cached


def _helps(artefact: Artefact, precision: str) -> str:
    """What would make it fit, most useful first."""
    less = [] if precision == "bfloat16" else ["--precision bfloat16 takes half"]
    if hasattr(artefact, "tuning"):
        if not artefact.tuning.keeps_base:
            less.append("LoRA instead of all weights")
        less.append("LoRA(bits=4) holds the base in a quarter of that")
        less.append("a smaller batch or max_length, or LoRA on fewer layers, keeps less in a pass")
    return "; ".join([*less, "a smaller model; or a machine with more (--engine ray)"])
