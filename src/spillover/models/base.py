"""A `Model`, and a `Base` as its makers released it. What a base is (pretrained, instruct) is data, not its name."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spillover.models.chat_settings import ChatSettings
from spillover.models.sources import Source
from spillover.spec import Spec, later_field
from spillover.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Role = Literal["pretrained", "instruct"]


class Model(Spec):
    """A model that can be asked, trained and looked into: a base, or a checkpoint of an organism."""

    @abstractmethod
    def base(self) -> Base:
        """The base at the root of this model's descent."""

    @abstractmethod
    def adapters(self, store: Store) -> tuple[Path, ...]:
        """Folders of the adapters to lay over the base, in order; one of whole weights replaces what lies below it."""

    @abstractmethod
    def label(self) -> str:
        """A short name for tables and figures; not an identity."""

    def tokenizer_folder(self) -> Path | None:
        """The folder of a tokenizer of its own; None: it has its base's."""
        return None

    @property
    def relative_size(self) -> float:
        """Parameters as a multiple of 135 million, for estimates of time; 1 where their number is not known."""
        return (self.base().parameters or 135e6) / 135e6

    def labels(self) -> dict[str, Any]:
        """What stands in every row about this model: short name, fingerprint, the set it was trained on, the step."""
        return {"model": self.label(), "model_id": self.fingerprint, "data": None, "step": None}

    def apply_hooks(self, network: PreTrainedModel, store: Store) -> None:
        """What is done to the network beyond weights, once it is loaded: a steered model adds its vector here."""

    @property
    def has_hooks(self) -> bool:
        """Whether anything is, so that its weights do not say all that it is."""
        return type(self).apply_hooks is not Model.apply_hooks


class Base(Model):
    """A model as its makers released it."""

    name: str
    source: Source
    role: Role
    descends_from: str | None = None  # the name of the pretrained model it was made from, where known
    parameters: int | None = None  # for estimates of time
    chat: ChatSettings = later_field(ChatSettings())  # what its chat template is told

    def base(self) -> Base:
        return self

    def adapters(self, store: Store) -> tuple[Path, ...]:
        return ()

    def label(self) -> str:
        return self.name

    def summary(self) -> str:
        parent = f", made from {self.descends_from}" if self.descends_from else ""
        return f"{self.name}, {self.role}{parent}"
