"""A model that one training made of another, whoever trained it: a `Checkpoint` of ours, a `PublishedOrganism`."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from spillover.models.base import Base, Model
from spillover.store import Store


class FineTuned(Model):
    """A model that one training made of its parent; lines are drawn between two of one parent."""

    @property
    @abstractmethod
    def trained_from(self) -> Model:
        """The model that the training began with."""

    @abstractmethod
    def folder(self, store: Store) -> Path:
        """Where what was trained lies: an adapter for peft, or whole weights."""

    @property
    @abstractmethod
    def only_lora(self) -> bool:
        """Whether LoRA of linear layers is all that was trained, so that the change is a low-rank one by layer."""

    @abstractmethod
    def tuning_text(self) -> str:
        """What was trained, in a few words for people."""

    def base(self) -> Base:
        return self.trained_from.base()

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return (*self.trained_from.adapters(store), self.folder(store))

    def tokenizer_folder(self) -> Path | None:
        return self.trained_from.tokenizer_folder()
