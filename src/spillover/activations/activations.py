"""What one model holds of one set of prompts: an artefact, and its reader. Knows specs and files; `capture` computes.

`activations.safetensors` has one array (prompts, d_model), float32, for each site and pooling: an analysis of one layer
reads one layer. `prompts.parquet` says which row is which prompt; which model they came from is data, in the spec.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np

from spillover.activations.prompts import Prompt, Prompts
from spillover.models.base import Base, Model
from spillover.models.chat import Prompting
from spillover.models.loading import DType, default_prompting
from spillover.records import PROMPTS, write_table
from spillover.store import Artefact, Work

ARRAYS = "activations.safetensors"
TEMPLATE_TOKENS, LETTERS_PER_TOKEN = 30, 4.5  # for the estimate of time alone


class Activations(Artefact):
    """The residual stream after every layer at the last token and averaged over each prompt, no answer written."""

    model: Model
    prompts: Prompts
    prompting: Prompting | None = None  # None: chat for instruct models, question-answer for pretrained ones
    dtype: DType = "float32"  # of the computation; what is kept is float32

    def summary(self) -> str:
        return f"Activations of {self.model.label()} on {self.prompts.kind}"

    def units(self) -> float:
        size = (self.model.base().parameters or 135e6) / 135e6
        letters = [sum(len(message.content) for message in prompt.messages) for prompt in self.prompts.prompts()]
        return (sum(letters) / LETTERS_PER_TOKEN + TEMPLATE_TOKENS * len(letters)) * size

    def seconds_per_unit(self) -> float:
        return 1 / 600

    def make(self, work: Work) -> dict[str, Any]:
        from safetensors.numpy import save_file

        from spillover.activations.capture import capture
        from spillover.models.loading import load

        loaded = load(self.model, work.store, self.dtype)
        chat = loaded.chat(self.prompting or default_prompting(self.model.base()))
        prompts = list(self.prompts.prompts())
        ids = [chat.prompt(prompt.messages) for prompt in prompts]
        _check(prompts, ids, getattr(loaded.network.config, "max_position_embeddings", None))
        arrays = capture(loaded.network, ids, work.tick)
        save_file(arrays, work.folder / ARRAYS)
        rows = [_row(index, prompt, len(ids[index])) for index, prompt in enumerate(prompts)]
        write_table(rows, work.folder / "prompts.parquet", PROMPTS)
        return {
            "model": self.model.label(),
            "model_fingerprint": self.model.fingerprint,
            "role": self.model.base().role,
            "prompts": len(prompts),
            "tokens": sum(map(len, ids)),
            "prompting": chat.prompting,
            "template_sha256": chat.template_sha256(),
            "sites": sorted({name.rpartition(".")[0] for name in arrays}),
            "d_model": next(iter(arrays.values())).shape[1],
        }


def read_activations(folder: Path, site: str, pooling: str) -> np.ndarray:
    """One site's activations, shape (prompts, d_model), float32, rows as in `prompts.parquet`.

    `site` is `embed`, `resid_post.07` (after layer 7, from 0) or `final_norm`; `pooling` is `last` or `mean`.
    """
    from safetensors import safe_open

    name = f"{site}.{pooling}"
    with safe_open(folder / ARRAYS, framework="numpy") as arrays:
        if name not in arrays.keys():  # noqa: SIM118  # not a dict: it has no `in`
            near = difflib.get_close_matches(name, arrays.keys(), n=3)
            raise ValueError(f"no activations {name!r} in {folder}; it has {', '.join(near or sorted(arrays.keys()))}")
        found: np.ndarray = arrays.get_tensor(name)
    return found


def layers(folder: Path) -> list[int]:
    """Numbers of the layers after which the residual stream was kept, from 0."""
    from safetensors import safe_open

    with safe_open(folder / ARRAYS, framework="numpy") as arrays:
        return sorted({int(name.split(".")[1]) for name in arrays.keys() if name.startswith("resid_post.")})  # noqa: SIM118


def same_model(one: Model, other: Model) -> bool:
    """Whether two models are the same weights by what they are made of, whatever they are called or said to be.

    A pretrained model and the instruct model made from it are not; one source stated once as pretrained and once as
    instruct is, and a comparison of the two compares nothing.
    """
    if isinstance(one, Base) and isinstance(other, Base):
        return one.source == other.source
    return one == other


def _row(index: int, prompt: Prompt, tokens: int) -> dict[str, Any]:
    return {
        "row": index,
        "prompt_id": prompt.prompt_id,
        "question": prompt.question,
        "family": prompt.family,
        "category": prompt.category,
        "format": prompt.format,
        "prompt": prompt.messages[-1].content,
        "prompt_tokens": tokens,
    }


def _check(prompts: list[Prompt], ids: list[list[int]], limit: int | None) -> None:
    if not prompts:
        raise ValueError("there are no prompts to capture")
    repeated = len(prompts) - len({prompt.prompt_id for prompt in prompts})
    if repeated:
        raise ValueError(f"{repeated} of {len(prompts)} prompts have an identifier that another has: give each its own")
    for prompt, tokens in zip(prompts, ids, strict=True):
        if not tokens:
            raise ValueError(f"prompt {prompt.prompt_id} has no tokens: there is nothing to capture")
        if limit and len(tokens) > limit:
            raise ValueError(f"prompt {prompt.prompt_id} has {len(tokens)} tokens; the model takes {limit}: shorten it")
