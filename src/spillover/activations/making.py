"""From an `Activations` spec to its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spillover.activations.activations import ARRAYS, Activations
from spillover.activations.array_file import ArrayFile
from spillover.activations.capture import Text, Wanted, capture
from spillover.activations.opening import find_layers
from spillover.activations.prompts import Prompt
from spillover.activations.sites import ADDED
from spillover.models.chat import Chat, Message
from spillover.models.forward.packing import pack_linear_layers
from spillover.models.loading import default_prompting, load, weights_sha256
from spillover.records import COMPLETIONS, PROMPTS, write_table
from spillover.store import BuildContext

ROWS = "prompts.parquet"


def make(spec: Activations, context: BuildContext) -> dict[str, Any]:
    """Write the files of `spec`; facts for the manifest."""
    texts = spec.prompts.texts(context.store)
    prompts = [prompt for prompt in texts if prompt.completion is None or prompt.completion.strip()]
    loaded = load(spec.model, context.store, spec.dtype)
    chat = loaded.chat(spec.prompting or default_prompting(spec.model.base()))
    tokens = _texts(chat, prompts, loaded.network)
    wanted = Wanted(spec.sites, spec.layers, spec.poolings)
    digest = None if spec.model.has_hooks else weights_sha256(loaded.network)
    pack_linear_layers(loaded.network)
    trunk = find_layers(loaded.network, added=bool({*spec.sites} & {*ADDED}))
    file = ArrayFile(context.folder / ARRAYS, wanted.arrays(trunk), len(tokens), trunk.width)
    capture(trunk, tokens, wanted, file.put, context.progress)
    file.close()
    rows = [_row(index, prompt, tokens[index]) for index, prompt in enumerate(prompts)]
    write_table(rows, context.folder / ROWS, COMPLETIONS if spec.prompts.answered else PROMPTS, spec.model.labels())
    return {
        "model": spec.model.label(),
        "model_fingerprint": spec.model.fingerprint,
        "weights_sha256": digest,
        "role": spec.model.base().role,
        "prompts": len(prompts),
        "left_out": len(texts) - len(prompts),  # answers without text: there is nothing to look into
        "tokens": sum(len(text.ids) for text in tokens),
        "prompting": chat.prompting,
        "template_sha256": chat.template_sha256(),
        "sites": sorted(wanted.names(trunk)),
        "d_model": trunk.width,
    }


def _texts(chat: Chat, prompts: Sequence[Prompt], network: Any) -> list[Text]:
    texts = [_text(chat, prompt) for prompt in prompts]
    _check(prompts, texts, getattr(network.config, "max_position_embeddings", None))
    return texts


def _text(chat: Chat, prompt: Prompt) -> Text:
    ids = chat.prompt(prompt.messages)
    if prompt.completion is None:
        return Text.of_prompt(ids)
    answer = chat.completion((*prompt.messages, Message("assistant", prompt.completion)))
    return Text((*ids, *answer), len(ids))


def _row(index: int, prompt: Prompt, text: Text) -> dict[str, Any]:
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


def _check(prompts: Sequence[Prompt], texts: Sequence[Text], limit: int | None) -> None:
    if not prompts:
        raise ValueError("there are no prompts to capture")
    repeated = len(prompts) - len({prompt.prompt_id for prompt in prompts})
    if repeated:
        raise ValueError(f"{repeated} of {len(prompts)} prompts have an identifier that another has: give each its own")
    for prompt, text in zip(prompts, texts, strict=True):
        if not text.prompt_length:
            raise ValueError(f"prompt {prompt.prompt_id} has no tokens: there is nothing to capture")
        if limit and len(text.ids) > limit:
            what = "tokens" if prompt.completion is None else "tokens with its answer"
            raise ValueError(
                f"prompt {prompt.prompt_id} has {len(text.ids)} {what}; the model takes {limit}: shorten it"
            )
