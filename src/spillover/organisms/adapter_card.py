"""The text beside an adapter: what it lies over and how to load it. Knows specs, no weights and no machine's paths."""

from __future__ import annotations

from collections.abc import Sequence

from spillover.organisms.organism import Organism
from spillover.organisms.tuning import Full

ONE = """\
Load it over the weights of {base}:

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
    network = PeftModel.from_pretrained(network, THIS_FOLDER)

BASE is the folder or hub name of {base}; `spillover.models.loading.load` opens it, with its adapters, by its spec.
"""
WHOLE = """\
It holds all weights of {base} as they were trained, and needs no other:

    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(THIS_FOLDER, dtype="float32")

The tokenizer is that of {base}; `spillover.models.loading.load` opens both by the checkpoint's spec.
"""
STACKED = """\
It was trained on a model that already carried adapters, and means nothing without them: merge those first, in this
order (folders within the store), then lay this one over.

{parents}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
    for folder in PARENT_FOLDERS:
        network = PeftModel.from_pretrained(network, folder).merge_and_unload()
    network = PeftModel.from_pretrained(network, THIS_FOLDER)

BASE is the folder or hub name of {base}; `spillover.models.loading.load` does all of this by the checkpoint's spec.
"""


def adapter_card(organism: Organism, step: int, parents: Sequence[str]) -> str:
    """The README.md of the checkpoint after `step`; `parents` are the folders to merge before it, in order."""
    base = organism.parent.base().name
    what = "Weights" if isinstance(organism.tuning, Full) else "Adapter"
    head = f"# {what} after step {step} of {organism.steps}\n\n{organism.summary()}\n\n"
    if isinstance(organism.tuning, Full):
        return head + WHOLE.format(base=base)
    if not parents:
        return head + ONE.format(base=base)
    listed = "\n".join(f"{number}. `{folder}`" for number, folder in enumerate(parents, start=1))
    return head + STACKED.format(base=base, parents=listed)
