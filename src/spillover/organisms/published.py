"""Organisms that others trained: an adapter, or whole fine-tuned weights, over a parent that is stated.

They take the place of a checkpoint of ours everywhere: asked, judged, looked into, trained further.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Literal

from spillover.models.adapter_sources import AdapterFolder, HubAdapter, adapter_sha256, has_tokenizer
from spillover.models.adapters import adapter_config, expect_adapter_fits, expect_weights_fit, held_by
from spillover.models.base import Base, Model
from spillover.models.catalogue import hub_model
from spillover.models.sources import LocalFolder, RemoteWeights, Source, folder_sha256
from spillover.organisms.fine_tuned import FineTuned
from spillover.regular_files import absolute
from spillover.spec import location_field
from spillover.store import Store

FORMS = "adapter:FOLDER, adapter:hf:OWNER/NAME@REVISION, a folder of whole weights or hf:OWNER/NAME@REVISION"
_checked: set[tuple[str, str, str]] = set()  # files, parent, where they lie: those that were held against each other


class PublishedOrganism(FineTuned):
    """A model that others fine-tuned from `parent`, known by the SHA-256 (or the hub's commit) of its files."""

    parent: Model
    files: Source
    holds: Literal["lora", "adapter", "weights"]  # plain LoRA; what else peft has; whole weights
    name: str = location_field()  # in tables and figures

    @property
    def trained_from(self) -> Model:
        return self.parent

    @property
    def only_lora(self) -> bool:
        return self.holds == "lora"

    def tuning_text(self) -> str:
        return {"lora": "LoRA", "adapter": "an adapter that is more than LoRA", "weights": "whole weights"}[self.holds]

    def folder(self, store: Store) -> Path:
        """Where its files lie; fetched where they are on the hub, and refused where they do not fit the parent."""
        folder = self.files.folder()
        self._expect_parent(folder, store)
        return folder

    def tokenizer_folder(self) -> Path | None:
        folder = self.files.folder()
        return folder if has_tokenizer(folder) else self.parent.tokenizer_folder()

    def label(self) -> str:
        return self.name

    def summary(self) -> str:
        return f"{self.name}, trained by others from {self.parent.label()} ({self.tuning_text()})"

    def preflight(self) -> None:
        """Hold the files against the parent, where both are on this disk and nothing has to be made for it."""
        if isinstance(self.parent, Base) and self.parent.source.is_local() and self.files.is_local():
            self._expect_parent(self.files.folder(), None)

    def _expect_parent(self, folder: Path, store: Store | None) -> None:
        key = (self.files.fingerprint, self.parent.fingerprint, str(folder))
        if key in _checked:
            return
        below = self.parent.adapters(store) if store else ()
        whole = [path for path in below if not (path / "adapter_config.json").exists()]
        parent = whole[-1] if whole else self.parent.base().source.folder()
        expect = expect_weights_fit if self.holds == "weights" else expect_adapter_fits
        expect(parent, folder, self.parent.label())
        _checked.add(key)


def published_organism(text: str, parent: Model, name: str | None = None) -> PublishedOrganism:
    """The organism that a user names: `adapter:FOLDER` or `adapter:hf:OWNER/NAME@REVISION` (peft), a folder of whole
    weights, or `hf:OWNER/NAME@REVISION`; `parent` is what it was trained from, `name` what it is called.

    ValueError where there is no such thing, it is pickled, or it does not fit the parent. A warning where its files
    name another parent.
    """
    if isinstance(parent.base().source, RemoteWeights):
        raise ValueError(f"only a server has the weights of {parent.label()}: an organism's parent has to be here")
    files, called = _adapter(text[8:]) if text.startswith("adapter:") else _whole(text)
    folder = files.folder()
    organism = PublishedOrganism(
        parent=parent,
        files=files,
        holds=held_by(folder) if text.startswith("adapter:") else "weights",
        name=name or called,
    )
    organism.preflight()
    _tell_other_parent(organism, folder)
    return organism


def _adapter(text: str) -> tuple[Source, str]:
    if text.startswith("hf:"):
        hub = hub_model(text[3:])
        return HubAdapter(name=hub.name, revision=hub.revision), hub.name
    path = absolute(text)
    if not text or not path.is_dir():
        raise ValueError(f"no adapter at {text or 'nothing'}: after adapter: stands the folder that peft wrote")
    return AdapterFolder(path=str(path), sha256=adapter_sha256(path)), path.name


def _whole(text: str) -> tuple[Source, str]:
    if text.startswith("hf:"):
        hub = hub_model(text[3:])
        return hub, hub.name
    path = absolute(text)
    if not text or not path.is_dir():
        raise ValueError(f"no organism {text!r}: give {FORMS}")
    if (path / "adapter_config.json").exists():
        raise ValueError(f"{text} holds an adapter: write adapter:{text}")
    return LocalFolder(path=str(path), sha256=folder_sha256(path)), path.name


def _tell_other_parent(organism: PublishedOrganism, folder: Path) -> None:
    """Warn where the files name another parent than the one that was stated; names are no proof either way."""
    named = _named_parent(organism, folder)
    base = organism.parent.base()
    own = [
        base.name,
        getattr(base.source, "name", ""),
        *([base.source.folder().name] if base.source.is_local() else []),
    ]
    if named and not any(_alike(named, name) for name in own if name):
        warnings.warn(
            f"the files of {organism.name} say that it was trained from {named}; it is taken to be trained from "
            f"{organism.parent.label()}, as stated: if that is another model, give the right one",
            stacklevel=3,
        )


def _named_parent(organism: PublishedOrganism, folder: Path) -> str | None:
    if organism.holds != "weights":
        named = adapter_config(folder).get("base_model_name_or_path")
        return named if isinstance(named, str) and named else None
    config = json.loads((folder / "config.json").read_text())
    named = config.get("_name_or_path") if isinstance(config, dict) else None
    return named if isinstance(named, str) and named else None


def _alike(left: str, right: str) -> bool:
    """Whether two names are of one model, as far as names say: owner, folder and quantisation aside."""
    words = [re.sub(r"\(.*\)", "", name).rstrip("/ ").rpartition("/")[2].strip().lower() for name in (left, right)]
    return words[0] == words[1]
