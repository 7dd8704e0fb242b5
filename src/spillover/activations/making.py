"""From an `Activations` spec to its files: by the sampler's way of reading prompts where it can be, else by `capture`.

A network that is written out (`models/forward/packed_network.py`) shows what is inside it while it reads
prompts. So the activations of evaluation prompts are kept when these are asked, where the study has both ahead, with
the bits that they have when made alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spillover.activations.activations import ARRAYS, Activations
from spillover.activations.array_file import ArrayFile
from spillover.activations.capture import Text, Wanted, capture, refuse_lost
from spillover.activations.opening import find_layers
from spillover.activations.prompt_pass import PromptPass
from spillover.activations.prompts import EvaluationPrompts, Prompt
from spillover.activations.sites import ADDED, Trunk
from spillover.models.chat import Chat, Message
from spillover.models.forward.load_models import LoadedModels, load_together
from spillover.models.forward.prompt_reading import Watch
from spillover.models.loading import default_prompting, load, weights_sha256
from spillover.records import COMPLETIONS, PROMPTS, write_table
from spillover.responses.responses import Responses
from spillover.responses.watching import show
from spillover.store import BuildContext, Store, file_sha256

ROWS, ABOUT = "prompts.parquet", "seen.json"


def make(spec: Activations, context: BuildContext) -> dict[str, Any]:
    """Write the files of `spec`; facts for the manifest."""
    kept = _kept(spec, context)
    if kept is not None:
        return kept
    opened = load_together([spec.model], context.store, spec.dtype) if spec.seen_while_read() else None
    if opened is None:
        return _captured(spec, context)
    seen = _Seen(spec, opened, 0, context.folder, context.store)
    show(opened, [prompt for _, prompt in seen.watch.places], seen.watch, context.progress)
    return seen.close()


@contextlib.contextmanager
def looking_on(
    spec: Activations, asked: Sequence[Responses], opened: LoadedModels, store: Store
) -> Iterator[Watch | None]:
    """Look on while `asked` are answered, and keep what was seen for `spec`; None where it is not of these."""
    group = next((number for number, one in enumerate(asked) if _is_of(spec, one)), None)
    if group is None or not opened.changes:
        yield None
        return
    folder = store.unfinished(spec)
    with store.lock_if_free(spec) as free, contextlib.ExitStack() as spoiled:
        seen = None
        if free and not store.path(spec).exists():
            spoiled.callback(shutil.rmtree, folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with contextlib.suppress(ValueError):  # prompts that cannot be captured: said when its own turn comes
                seen = _Seen(spec, opened, group, folder, store)
        yield seen.watch if seen else None
        if seen:
            _keep(spec, folder, seen.close() | {"seen_by": asked[group].fingerprint}, store)
            spoiled.pop_all()


def _is_of(spec: Activations, asked: Responses) -> bool:
    """Whether what `spec` keeps is seen while `asked` is answered."""
    return (
        type(spec.prompts) is EvaluationPrompts
        and spec.prompts.questions == asked.questions
        and spec.model == asked.model
        and spec.dtype == asked.sampling.dtype
        and (spec.prompting or default_prompting(spec.model.base())) == asked.prompting
    )


class _Seen:
    """The files of activations that are seen while prompts are read."""

    def __init__(self, spec: Activations, opened: LoadedModels, group: int, folder: Path, store: Store) -> None:
        loaded = opened.loaded
        self.spec, self.folder, self.opened = spec, folder, opened
        self.change = opened.changes[group]
        self.chat = loaded.chat(spec.prompting or default_prompting(spec.model.base()))
        self.prompts = list(spec.prompts.texts(store))
        self.texts = _texts(self.chat, self.prompts, loaded.network)
        self.trunk = Trunk(loaded.network.base_model, tuple(loaded.network.base_model.layers))
        wanted = Wanted(spec.sites, spec.layers, spec.poolings)
        self.sites, arrays = wanted.names(self.trunk), wanted.arrays(self.trunk)
        self.file = ArrayFile(folder / ARRAYS, arrays, len(self.texts), self.trunk.width)
        self.lost = np.zeros((len(arrays), len(self.texts)), dtype=bool)
        places: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for row, text in enumerate(self.texts):
            places.setdefault((group, text.ids), []).append(row)
        self.watch = PromptPass(places, self.sites, spec.poolings, self.trunk.width, self._put)

    def _put(self, rows: list[int], block: np.ndarray) -> None:
        self.lost[:, rows] = ~np.isfinite(block).all(axis=2)
        self.file.put(rows, block)

    def close(self) -> dict[str, Any]:
        """Everything into the files; facts for the manifest. ValueError where numbers are not finite."""
        shape = (len(self.sites), len(self.spec.poolings), len(self.texts))
        refuse_lost(np.any(self.lost.reshape(shape), axis=1), self.sites)
        self.file.close()
        digest = weights_sha256(self.opened.loaded.network, self.change)
        return _finished(
            self.spec, self.folder, (self.prompts, self.texts), self.chat, (self.sites, self.trunk), digest
        )


def _captured(spec: Activations, context: BuildContext) -> dict[str, Any]:
    """By hooks on transformers' own modules: any network, and prompts with answers."""
    prompts = [one for one in spec.prompts.texts(context.store) if one.completion is None or one.completion.strip()]
    loaded = load(spec.model, context.store, spec.dtype)
    chat = loaded.chat(spec.prompting or default_prompting(spec.model.base()))
    texts = _texts(chat, prompts, loaded.network)
    wanted = Wanted(spec.sites, spec.layers, spec.poolings)
    trunk = find_layers(loaded.network, added=bool({*spec.sites} & {*ADDED}))
    file = ArrayFile(context.folder / ARRAYS, wanted.arrays(trunk), len(texts), trunk.width)
    capture(trunk, texts, wanted, file.put, context.progress)
    file.close()
    digest = None if spec.model.has_hooks else weights_sha256(loaded.network)
    facts = _finished(spec, context.folder, (prompts, texts), chat, (wanted.names(trunk), trunk), digest)
    return facts | {"left_out": len(spec.prompts.texts(context.store)) - len(prompts)}


def _finished(
    spec: Activations,
    folder: Path,
    given: tuple[Sequence[Prompt], Sequence[Text]],
    chat: Chat,
    read: tuple[Sequence[str], Trunk],
    digest: str | None,
) -> dict[str, Any]:
    (prompts, texts), (sites, trunk) = given, read
    rows = [_row(index, prompt, texts[index]) for index, prompt in enumerate(prompts)]
    write_table(rows, folder / ROWS, COMPLETIONS if spec.prompts.answered else PROMPTS)
    return {
        "model": spec.model.label(),
        "model_fingerprint": spec.model.fingerprint,
        "weights_sha256": digest,
        "role": spec.model.base().role,
        "prompts": len(prompts),
        "left_out": 0,  # answers without text: there is nothing to look into
        "tokens": sum(len(text.ids) for text in texts),
        "prompting": chat.prompting,
        "template_sha256": chat.template_sha256(),
        "sites": sorted(sites),
        "d_model": trunk.width,
    }


def _keep(spec: Activations, folder: Path, facts: dict[str, Any], store: Store) -> None:
    files = {name: file_sha256(folder / name) for name in (ARRAYS, ROWS)}
    about = {"facts": facts | {"work_share": 0.0}, "needs": store.digests(spec), "files": files}
    path = folder / f"{ABOUT}.new"
    path.write_text(json.dumps(about))
    os.replace(path, folder / ABOUT)


def _kept(spec: Activations, context: BuildContext) -> dict[str, Any] | None:
    """The facts of what a sampler kept for `spec`, once it is in its folder; None where none holds any more."""
    folder = context.store.unfinished(spec)
    try:
        about = json.loads((folder / ABOUT).read_text())
        facts: dict[str, Any] = about["facts"]
        files = {name: file_sha256(folder / name) for name in (ARRAYS, ROWS)}
        if about["files"] != files or about["needs"] != context.store.digests(spec):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    for name in files:
        shutil.copyfile(folder / name, context.folder / name)
    return facts


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
