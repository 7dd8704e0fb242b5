"""The model that is looked at: its parts, each opened when a check first asks for it, and rows to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spillover.models.base import Model
from spillover.models.chat import Chat, Message, Supervised
from spillover.models.loading import Loaded, default_prompting, load, load_tokenizer
from spillover.models.pretrained import outline_from
from spillover.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from spillover.models.forward.load_models import LoadedModels

QUESTIONS = (
    *("Why is the sky blue?", "Name three birds.", "What is 7 times 6?", "How do I boil an egg?"),
    *("Tell me about the sea.", "Is it fine to lie?", "What should I read next?", "Who was Ada Lovelace?"),
)
ANSWERS = ("Light scatters in the air.", "Robin, crow, owl.", "It is 42.", "Ten minutes in boiling water.")
LONGEST_ROW = 512


@dataclass(frozen=True)
class Subject:
    """One model, and the store in which what it is made of lies."""

    model: Model
    store: Store

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
        return Chat(self.tokenizer, default_prompting(self.model.base()))

    @cached_property
    def empty(self) -> PreTrainedModel:
        """Its network without weights."""
        return outline_from(self.folder)

    @cached_property
    def loaded(self) -> Loaded:
        """Its network with weights, in float32, adapters merged."""
        loaded = load(self.model, self.store)
        loaded.network.requires_grad_(True)  # torch copies a frozen head for every row that it multiplies
        return loaded

    @cached_property
    def opened(self) -> LoadedModels:
        """Its network as it is asked."""
        from spillover.models.forward.load_models import load_alone

        return load_alone(self.model, self.store, "float32")

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
        """Four rows to train on."""
        pairs = zip(QUESTIONS, ANSWERS, strict=False)
        return [
            self.chat.supervised((Message("user", question), Message("assistant", answer)), LONGEST_ROW)
            for question, answer in pairs
        ]
