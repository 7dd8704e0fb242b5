"""The text beside an adapter: what it lies over and how to load it. Knows specs, no weights and no machine's paths."""

from __future__ import annotations

from collections.abc import Sequence

from spillover.organisms.organism import Organism

ONE = """\
Load it over the weights of {base}:

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(BASE, dtype="float32")
    network = PeftModel.from_pretrained(network, THIS_FOLDER)

BASE is the folder or hub name of {base}; `spillover.models.loading.load` opens it, with its adapters, by its spec.
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
    """What stands in the README.md of the adapter after `step`; `parents` are the folders to merge before, in order."""
    base = organism.parent.base().name
    head = f"# Adapter after step {step} of {organism.steps}\n\n{organism.summary()}\n\n"
    if not parents:
        return head + ONE.format(base=base)
    listed = "\n".join(f"{number}. `{folder}`" for number, folder in enumerate(parents, start=1))
    return head + STACKED.format(base=base, parents=listed)
