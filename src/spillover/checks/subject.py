"""The model that is looked at: its parts, each opened when a check first asks for it, and rows to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spillover.engines.memory import ITEMSIZE, memory_bytes
from spillover.models.base import Model
from spillover.models.chat import Chat, Message, Supervised
from spillover.models.loading import Loaded, default_prompting, load, load_tokenizer
from spillover.models.precision import DType
from spillover.models.pretrained import outline_from
from spillover.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from spillover.models.forward.load_models import LoadedModels

# Of two lengths in most tokenizers, for what has to go through `generate` without padding.
QUESTIONS = (
    *("Name three birds.", "Name three trees.", "Name three boats.", "Name three stars."),
    *(f"What is the capital of {country}?" for country in ("China", "Spain", "Italy", "Japan")),
)
ROWS = ((QUESTIONS[0], "Robin, crow and owl, say."), (QUESTIONS[5], "It is Madrid."))
LONGEST_ROW = 512
ROOM = 2.5  # of the weights' bytes: mapped, laid out for sampling, and what passes keep


@dataclass(frozen=True)
class Subject:
    """One model, and the store in which what it is made of lies."""

    model: Model
    store: Store
    precision: DType | None = None  # that the checks are to compute in; None: float32 where it has room

    @cached_property
    def folder(self) -> Path:
        """The folder of its whole weights, fetched or converted where it is not there yet."""
        adapters = self.model.adapters(self.store)
        whole = [path for path in adapters if not (path / "adapter_config.json").exists()]
        return whole[-1] if whole else self.model.base().source.folder()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return load_tokenizer(self.model)

    @cached_property
    def chat(self) -> Chat:
        """The way in which it is prompted where nothing else is asked for."""
        base = self.model.base()
        return Chat(self.tokenizer, default_prompting(base), base.chat)

    @cached_property
    def empty(self) -> PreTrainedModel:
        """Its network without weights."""
        return outline_from(self.folder)

    @cached_property
    def dtype(self) -> DType:
        """In what the checks compute: as asked; else float32 where that has room here, and bfloat16 where not."""
        if self.precision:
            return self.precision
        return "float32" if self._has_room("float32") else "bfloat16"

    def _has_room(self, dtype: DType) -> bool:
        numbers = sum(weight.numel() for weight in self.empty.parameters())
        return bool(ROOM * numbers * ITEMSIZE[dtype] <= memory_bytes())

    @cached_property
    def loaded(self) -> Loaded:
        """Its network with weights, adapters merged. MemoryError where there is no room for it."""
        if not self._has_room(self.dtype):
            raise MemoryError
        loaded = load(self.model, self.store, self.dtype)
        loaded.network.requires_grad_(True)  # torch copies a frozen head for every row that it multiplies
        return loaded

    @cached_property
    def opened(self) -> LoadedModels:
        """Its network as it is asked."""
        from spillover.models.forward.load_models import load_alone

        return load_alone(self.model, self.store, self.dtype)

    def embeddings(self) -> int:
        """How many tokens it has embeddings for."""
        from spillover.models.adapters import vocabulary_rows

        rows = int(self.empty.get_input_embeddings().weight.shape[0])
        for folder in self.model.adapters(self.store):
            if (folder / "adapter_config.json").exists():
                rows = vocabulary_rows(self.empty, folder)
        return rows

    def prompts(self) -> list[tuple[int, ...]]:
        """Token ids of eight questions."""
        return [tuple(self.chat.prompt((Message("user", text),))) for text in QUESTIONS]

    def rows(self) -> list[Supervised]:
        """Two rows to train on."""
        return [
            self.chat.supervised((Message("user", question), Message("assistant", answer)), LONGEST_ROW)
            for question, answer in ROWS
        ]
