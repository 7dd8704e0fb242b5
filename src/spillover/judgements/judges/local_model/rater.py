"""A judge's prompts as a model reads them: what was written by others never becomes a mark of the template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spillover.judgements.judges.local_model.number_probabilities import number_masses
from spillover.judgements.judges.local_model.number_tree import number_tree
from spillover.judgements.rubric import JudgePrompt
from spillover.models.base import Model
from spillover.models.chat import Message, Prompting
from spillover.models.forward.cached_network import TokenIds
from spillover.models.loading import load
from spillover.models.precision import DType
from spillover.store import Store

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLOT = "\ue000what is rated\ue001"  # private characters: no template writes them


class Rater:
    """A judge's model, loaded, with its way of being asked."""

    def __init__(self, model: Model, store: Store | None, dtype: DType, prompting: Prompting | None) -> None:
        self.loaded = load(model, store, dtype)  # type: ignore[arg-type]  # a base needs no store
        self.chat = self.loaded.chat(prompting)
        self.before, self.after = self._frame()
        self.tree = number_tree(self.loaded.tokenizer, self._lead())
        self.longest = getattr(self.loaded.network.config.get_text_config(), "max_position_embeddings", None)
        self._head_ids: dict[str, TokenIds] = {}

    def distributions(
        self, prompts: Sequence[JudgePrompt], progress: Callable[[float], None] = lambda share: None
    ) -> list[np.ndarray | str]:
        """Probabilities of the numbers 0 to 100 (101,) after each prompt; or why it could not be asked."""
        ids = [self.ids(prompt) for prompt in prompts]
        room = None if self.longest is None else self.longest - max(self.tree.depths)
        fits = [room is None or len(tokens) <= room for tokens in ids]
        fitting = [tokens for tokens, fit in zip(ids, fits, strict=True) if fit]
        masses = iter(number_masses(self.loaded, self.tree, fitting, progress))
        progress(1.0)
        return [next(masses) if fit else f"longer than the judge's {self.longest} tokens" for fit in fits]

    def ids(self, prompt: JudgePrompt) -> TokenIds:
        """The prompt's tokens. The head is encoded apart from the tail, so that answers to one question share it."""
        if prompt.head not in self._head_ids:
            self._head_ids[prompt.head] = (*self.before, *plain_ids(self.loaded.tokenizer, prompt.head))
        return (*self._head_ids[prompt.head], *plain_ids(self.loaded.tokenizer, prompt.tail), *self.after)

    def _frame(self) -> tuple[TokenIds, TokenIds]:
        """The template's own tokens before and after what is rated."""
        before, slot, after = self.chat.prompt_text([Message("user", SLOT)]).partition(SLOT)
        if not slot:
            raise ValueError(f"the chat template of {self.loaded.base.name} leaves out what the user says")
        tokenizer, special = self.loaded.tokenizer, self.chat.prompting != "chat"
        first = tokenizer(before, add_special_tokens=special)["input_ids"]
        return tuple(first), tuple(tokenizer(after, add_special_tokens=False)["input_ids"])

    def _lead(self) -> str:
        """What stands between the prompt and an answer's first letter: nothing, or a space."""
        text = self.chat.answer_text([Message("user", "?"), Message("assistant", "85")])
        return text[: text.index("85")]


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The text's tokens, none of them a control token, even where the text spells one out."""
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a character is none
    ids = [int(token) for token in tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]]
    marks = {
        token: str(added.content) for token, added in tokenizer.added_tokens_decoder.items() if len(added.content) > 1
    }
    named = [mark for token, mark in marks.items() if token in ids and _controls(tokenizer, token, mark)]
    if not named:
        return ids
    first = min(named, key=text.index)
    cut = text.index(first) + 1
    return plain_ids(tokenizer, text[:cut]) + plain_ids(tokenizer, text[cut:])


def _controls(tokenizer: PreTrainedTokenizerBase, token: int, mark: str) -> bool:
    """Whether a token marks turns: it is special, or the chat template writes it."""
    return token in tokenizer.all_special_ids or mark in str(tokenizer.chat_template or "")
