"""What one model holds of one set of prompts: an artefact, and its reader. Knows specs and files; `capture` computes.

`activations.safetensors` has one array (prompts, d_model), float32, for each site and pooling: an analysis of one layer
reads one layer. `prompts.parquet` says which row is which prompt; which model they came from is data, in the spec, and
the digest of its weights is in the manifest.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import field_validator, model_validator

from spillover.activations.capture import POOLINGS, SITES, Pooling
from spillover.activations.prompts import Prompts
from spillover.activations.sites import EMBED, KINDS, SiteKind, layer_site
from spillover.manifest import Damaged
from spillover.models.base import Base, Model
from spillover.models.chat import Prompting
from spillover.models.loading import DType
from spillover.store import Artefact, BuildContext, Cost, Store

ARRAYS = "activations.safetensors"
_NOTHING = "comparing it with itself shows nothing; pass the activations of another model"


class Activations(Artefact):
    """What a model holds inside for each prompt, pooled over tokens; by default the residual stream."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    prompts: Prompts
    prompting: Prompting | None = None  # None: chat for instruct models, question-answer for pretrained ones
    dtype: DType = "float32"  # of the computation; what is kept is float32
    sites: tuple[SiteKind, ...] = SITES  # kinds of sites
    layers: tuple[int, ...] = ()  # none: all
    poolings: tuple[Pooling, ...] = ("last", "mean")

    @field_validator("sites", "poolings", "layers")
    @classmethod
    def _in_order(cls, given: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        """The order in which they are asked for makes no other artefact."""
        if not given and info.field_name != "layers":
            raise ValueError("nothing would be kept")
        order: Any = {"sites": KINDS, "poolings": POOLINGS}.get(info.field_name)
        return tuple(sorted(set(given), key=order.index if order else None))

    @model_validator(mode="after")
    def _completed(self) -> Self:
        if "completion" in self.poolings and not self.prompts.answered:
            raise ValueError(
                f"pooling 'completion' is over the answer that follows a prompt, and {self.prompts.kind} has none: "
                f"give TrainingRows or AnsweredPrompts"
            )
        return self

    def summary(self) -> str:
        return f"Activations of {self.model.label()} on {self.prompts.kind}"

    def cost(self) -> Cost:
        tokens = self.prompts.tokens()
        return Cost(units=tokens * self.model.relative_size, seconds_per_unit=1 / 600, tokens=tokens, token_use="read")

    def make(self, context: BuildContext) -> dict[str, Any]:
        from spillover.activations.making import make

        return make(self, context)


def read_activations(folder: Path, site: str, pooling: str) -> np.ndarray:
    """One site's activations, shape (prompts, d_model), float32, rows as in `prompts.parquet`.

    `site` is `embed`, `resid_post.07` (after layer 7, from 0), `resid_pre.07`, `attn_out.07`, `mlp_out.07` or
    `final_norm`; `pooling` is `last`, `mean` or `completion`. What layer 7 is given is what layer 6 handed on, and is
    read there where it was not kept twice.
    """
    from safetensors import safe_open

    with safe_open(folder / ARRAYS, framework="numpy") as arrays:
        kept = set(arrays.keys())
        name = next((one for one in _names(site, pooling) if one in kept), None)
        if name is None:
            near = difflib.get_close_matches(f"{site}.{pooling}", kept, n=3)
            raise ValueError(f"no activations '{site}.{pooling}' in {folder}; it has {', '.join(near or sorted(kept))}")
        found: np.ndarray = arrays.get_tensor(name)
    return found


def _names(site: str, pooling: str) -> list[str]:
    kind, _, layer = site.partition(".")
    names = [f"{site}.{pooling}"]
    if kind == "resid_pre" and layer.isdigit():
        names.append(f"{EMBED if int(layer) == 0 else layer_site(int(layer) - 1)}.{pooling}")
    return names


def layers(folder: Path, kind: str = "resid_post") -> list[int]:
    """Numbers of the layers at which this kind of site was kept, from 0."""
    from safetensors import safe_open

    with safe_open(folder / ARRAYS, framework="numpy") as arrays:
        return sorted({int(name.split(".")[1]) for name in arrays.keys() if name.startswith(f"{kind}.")})  # noqa: SIM118


def same_model(one: Model, other: Model) -> bool:
    """Whether two models are the same weights by what they are made of, whatever they are called or said to be.

    A pretrained model and the instruct model made from it are not; one source stated once as pretrained and once as
    instruct is, and a comparison of the two compares nothing.
    """
    if isinstance(one, Base) and isinstance(other, Base):
        return one.source == other.source
    return one == other


def refuse_same_weights(one: Activations, other: Activations, store: Store) -> None:
    """Refuse to compare two captures of the same weights under two names (docs/method.md, mistake 2).

    By the digests that their manifests hold: of the weights, or, for captures of the same prompts, of the arrays.
    """
    if same_model(one.model, other.model):
        raise ValueError(f"{one.model.label()} and {other.model.label()} are the same model: {_NOTHING}")
    try:
        manifests = [store.manifest(side) for side in (one, other)]
    except Damaged:  # what is not there yet, or cannot be read, says nothing; `verify` does
        return
    weights = [manifest["facts"].get("weights_sha256") for manifest in manifests]
    arrays = [manifest["files"][ARRAYS]["sha256"] for manifest in manifests]
    told = "weights" if None not in weights and weights[0] == weights[1] else ""
    told = told or ("activations" if arrays[0] == arrays[1] and one.prompts == other.prompts else "")
    if told:
        digest = (weights if told == "weights" else arrays)[0]
        raise ValueError(
            f"{one.model.label()} ({one.model.base().role}) and {other.model.label()} ({other.model.base().role}) are "
            f"the same model under two names: the {told} of both have SHA-256 {digest[:16]}; {_NOTHING}"
        )
