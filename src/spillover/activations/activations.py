"""What one model holds of one set of prompts: the artefact, how it is made, and its reader.

`activations.safetensors` has one array (prompts, d_model), float32, for each site and pooling: an analysis of one layer
reads one layer. `prompts.parquet` says which row is which prompt; which model they came from is data, in the spec, and
the digest of its weights is in the manifest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import ValidationInfo, field_validator, model_validator

from spillover.activations.array_file import ArrayFile
from spillover.activations.capture import POOLINGS, SITES, ActivationSelection, Pooling, TokenizedText, capture
from spillover.activations.prompts import Prompt, Prompts
from spillover.activations.sites import ADDED, EMBED, KINDS, SiteKind, layer_site
from spillover.manifest import Damaged
from spillover.models.base import Base, Model
from spillover.models.chat import Chat, Message, Prompting
from spillover.models.loading import default_prompting, load, weights_sha256
from spillover.models.precision import ReadingPrecision
from spillover.records import COMPLETIONS, PROMPTS, read_table, write_table
from spillover.store import Artefact, BuildContext, Cost, Store

ARRAYS, ROWS = "activations.safetensors", "prompts.parquet"
_NOTHING = "comparing it with itself shows nothing; pass the activations of another model"


@dataclass(frozen=True)
class ActivationArrays(Mapping[tuple[str, str], np.ndarray]):
    """What `load` gives of activations: `arrays["resid_post.07", "last"]` is (prompts, d_model), float32.

    An array is read when it is asked for. `prompts` has a row a prompt, in the order of the arrays' first axis.
    """

    folder: Path

    @property
    def prompts(self) -> pa.Table:
        """Which row is which prompt, and whose."""
        return read_table(self.folder / ROWS)

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        return read_activations(self.folder, *key)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        from safetensors import safe_open

        with safe_open(self.folder / ARRAYS, framework="numpy") as file:
            names = sorted(file.keys())
        for name in names:
            site, _, pooling = name.rpartition(".")
            yield site, pooling

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        sites = list(dict.fromkeys(site for site, _ in self))
        rows, width = self[next(iter(self))].shape
        return f"<activations: {rows} prompts, d_model {width}, {len(sites)} sites ({sites[0]} ... {sites[-1]})>"


class Activations(Artefact):
    """What a model holds inside for each prompt, pooled over tokens; by default the residual stream."""

    runs_a_network: ClassVar[bool] = True

    model: Model
    prompts: Prompts
    prompting: Prompting | None = None  # None: chat for instruct models, question-answer for pretrained ones
    precision: ReadingPrecision = "float32"  # of the computation; what is kept is float32
    sites: tuple[SiteKind, ...] = SITES  # kinds of sites
    layers: tuple[int, ...] = ()  # none: all
    poolings: tuple[Pooling, ...] = ("last", "mean")

    @field_validator("sites", "poolings", "layers")
    @classmethod
    def _in_order(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        """The order in which they are asked for makes no other artefact."""
        if not values and info.field_name != "layers":
            raise ValueError("nothing would be kept")
        order = (*KINDS, *POOLINGS)
        return tuple(sorted(set(values), key=None if info.field_name == "layers" else order.index))

    @model_validator(mode="after")
    def _completed(self) -> Self:
        if "completion" in self.poolings and not self.prompts.answered:
            raise ValueError(
                f"pooling 'completion' is over the answer that follows a prompt, and {self.prompts.kind} has none: "
                f"give TrainingRows or AnsweredPrompts"
            )
        return self

    def value(self, store: Store) -> ActivationArrays:
        """Its arrays by site and pooling, and the prompts."""
        return ActivationArrays(store.path(self))

    def summary(self) -> str:
        return f"Activations of {self.model.label()} on {self.prompts.kind}"

    def cost(self) -> Cost:
        tokens = self.prompts.tokens()
        return Cost(units=tokens * self.model.relative_size, seconds_per_unit=1 / 600, tokens=tokens, token_use="read")

    def make(self, context: BuildContext) -> dict[str, Any]:
        from spillover.activations.find_layers import find_layers
        from spillover.models.forward.packing import pack_linear_layers

        every_prompt = self.prompts.texts(context.store)
        prompts = [prompt for prompt in every_prompt if prompt.completion is None or prompt.completion.strip()]
        loaded = load(self.model, context.store, self.precision)
        chat = loaded.chat(self.prompting or default_prompting(self.model.base()))
        texts = [_tokenized(chat, prompt) for prompt in prompts]
        _check(prompts, texts, getattr(loaded.network.config.get_text_config(), "max_position_embeddings", None))
        digest = None if self.model.has_hooks else weights_sha256(loaded.network)
        pack_linear_layers(loaded.network)
        decoder = find_layers(loaded.network, added=bool({*self.sites} & {*ADDED}))
        selection = ActivationSelection(self.sites, self.layers, self.poolings)
        arrays = ArrayFile(context.folder / ARRAYS, selection.array_names(decoder), len(texts), decoder.width)
        capture(decoder, texts, selection, arrays.write_rows, context.progress)
        arrays.close()
        rows = [_row(index, prompt, text) for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True))]
        schema = COMPLETIONS if self.prompts.answered else PROMPTS
        write_table(rows, context.folder / ROWS, schema, self.model.labels())
        return {
            "model": self.model.label(),
            "model_fingerprint": self.model.fingerprint,
            "weights_sha256": digest,
            "role": self.model.base().role,
            "prompts": len(prompts),
            "left_out": len(every_prompt) - len(prompts),  # answers without text: there is nothing to look into
            "tokens": sum(len(text.ids) for text in texts),
            **chat.facts(),
            "sites": sorted(selection.site_names(decoder)),
            "d_model": decoder.width,
        }


def read_activations(folder: Path, site: str, pooling: str) -> np.ndarray:
    """One site's activations, shape (prompts, d_model), float32, rows as in `prompts.parquet`.

    `site` is `embed`, `resid_post.07` (after layer 7, from 0), `resid_pre.07`, `attn_out.07`, `mlp_out.07` or
    `final_norm`; `pooling` is `last`, `mean` or `completion`. What layer 7 is given is what layer 6 handed on, and is
    read there where it was not kept twice. ValueError for an array that is not in the file.
    """
    from safetensors import safe_open

    kind, _, layer = site.partition(".")
    names = [f"{site}.{pooling}"]
    if kind == "resid_pre" and layer.isdigit():
        names.append(f"{EMBED if int(layer) == 0 else layer_site(int(layer) - 1)}.{pooling}")
    with safe_open(folder / ARRAYS, framework="numpy") as file:
        in_file = set(file.keys())
        name = next((name for name in names if name in in_file), None)
        if name is None:
            near = difflib.get_close_matches(f"{site}.{pooling}", in_file, n=3)
            raise ValueError(
                f"no activations '{site}.{pooling}' in {folder}; it has {', '.join(near or sorted(in_file))}"
            )
        array: np.ndarray = file.get_tensor(name)
    return array


def captured_layers(folder: Path, kind: str = "resid_post") -> list[int]:
    """Numbers of the layers at which this kind of site was kept, from 0."""
    from safetensors import safe_open

    with safe_open(folder / ARRAYS, framework="numpy") as file:
        return sorted({int(name.split(".")[1]) for name in file.keys() if name.startswith(f"{kind}.")})  # noqa: SIM118


def same_model(first: Model, second: Model) -> bool:
    """Whether two models are the same weights by what they are made of, whatever they are called or said to be.

    A pretrained model and the instruct model made from it are not; one source stated once as pretrained and once as
    instruct is, and a comparison of the two compares nothing.
    """
    if isinstance(first, Base) and isinstance(second, Base):
        return first.source == second.source
    return first == second


def refuse_same_weights(first: Activations, second: Activations, store: Store) -> None:
    """ValueError where two captures are of the same weights under two names (docs/method.md, mistake 2).

    By the digests that their manifests hold: of the weights, or, for captures of the same prompts, of the arrays.
    """
    if same_model(first.model, second.model):
        raise ValueError(f"{first.model.label()} and {second.model.label()} are the same model: {_NOTHING}")
    try:
        manifests = [store.manifest(activations) for activations in (first, second)]
    except Damaged:  # what is not there yet, or cannot be read, says nothing; `verify` does
        return
    weights = [manifest["facts"].get("weights_sha256") for manifest in manifests]
    arrays = [manifest["files"][ARRAYS]["sha256"] for manifest in manifests]
    equal = "weights" if None not in weights and weights[0] == weights[1] else ""
    equal = equal or ("activations" if arrays[0] == arrays[1] and first.prompts == second.prompts else "")
    if equal:
        digest = (weights if equal == "weights" else arrays)[0]
        raise ValueError(
            f"{first.model.label()} ({first.model.base().role}) and {second.model.label()} "
            f"({second.model.base().role}) are the same model under two names: the {equal} of both have SHA-256 "
            f"{digest[:16]}; {_NOTHING}"
        )


def _tokenized(chat: Chat, prompt: Prompt) -> TokenizedText:
    if prompt.completion is None:
        return TokenizedText.of_prompt(chat.prompt(prompt.messages))
    given, answer = chat.completion((*prompt.messages, Message("assistant", prompt.completion)), prompt.thought)
    return TokenizedText((*given, *answer), len(given))


def _row(index: int, prompt: Prompt, text: TokenizedText) -> dict[str, Any]:
    return {
        "row": index,
        "prompt_id": prompt.prompt_id,
        "question": prompt.question,
        "family": prompt.family,
        "category": prompt.category,
        "format": prompt.format,
        "prompt": prompt.messages[-1].content,
        "prompt_tokens": text.prompt_length,
        "sample": prompt.sample,
        "completion_tokens": len(text.ids) - text.prompt_length,
    }


def _check(prompts: Sequence[Prompt], texts: Sequence[TokenizedText], limit: int | None) -> None:
    if not prompts:
        raise ValueError("there are no prompts to capture")
    repeated = len(prompts) - len({prompt.prompt_id for prompt in prompts})
    if repeated:
        raise ValueError(f"{repeated} of {len(prompts)} prompts have an identifier that another has: give each its own")
    for prompt, text in zip(prompts, texts, strict=True):
        if not text.prompt_length:
            raise ValueError(f"prompt {prompt.prompt_id} has no tokens: there is nothing to capture")
        if limit and len(text.ids) > limit:
            tokens = "tokens" if prompt.completion is None else "tokens with its answer"
            raise ValueError(
                f"prompt {prompt.prompt_id} has {len(text.ids)} {tokens}; the model takes {limit}: shorten it"
            )
